"""The words that names and summaries are made of. All of it is invented."""


def _words(text: str) -> list[str]:
    return text.split()


def _phrases(text: str) -> list[str]:
    return text.strip().replace("\n", "|").split("|")


ADJECTIVES = _words("""
Amber Ancient Ashen Astral Azure Barren Blazing Bitter Bright Broken Burning
Celestial Clockwork Cobalt Copper Crimson Crystal Cursed Dark Deep Distant Dire Dusty Echoing
Electric Elder Emerald Endless Eternal Étoilé Fading Fallen Feral Final First Forgotten Fractured
Frozen Ghostly Gilded Glass Golden Grand Grim Hidden Hollow Howling Infinite Iron Ivory Jagged
Last Little Lonely Lost Lunar Mad Magnetic Marble Midnight Mighty Mirrored Molten Neon Nimble
Nordic Obsidian Outer Pale Paper Phantom Pixel Primal Quiet Radiant Ragged Rising Rogue Ruby
Rusted Sacred Savage Scarlet Secret Shattered Silent Silver Sleeping Solar Spectral Stolen Stone
Sunken Super Tiny Turbo Twisted Über Undying Unseen Velvet Verdant Wandering Wicked Wild
Winter
""")

NOUNS = _words("""
Abyss Airship Alchemist Arcade Archer Armada Asteroid Atlas Badlands Bastion Beacon
Blade Borough Brigade Caravan Castle Cathedral Chronicle Circuit City Citadel Colony Comet
Commander Corsair Crown Crusade Cipher Dawn Descent Desert Detective Dominion Dragon Drifter
Dungeon Dynasty Echo Eclipse Ember Empire Engine Expanse Express Factory Farm Fleet Forest Forge
Fortress Frontier Galaxy Garden Gate Gladiator Harbor Harvest Haven Heist Heroes Horizon Hunter
Island Journey Jungle Kingdom Knight Labyrinth Lagoon Lantern Legacy Legend Lighthouse Machine
Maelstrom Mansion Mech Merchant Monolith Mountain Nebula Nomad Oasis Oath Odyssey Oracle Orbit
Outpost Paladin Pilot Pirates Planet Prophecy Protocol Puzzle Quest Racer Rails Ranger Realm
Rebellion Relic Requiem Rift River Ronin Runner Saga Sailor Samurai Sanctum Sentinel Shadow Siege
Signal Skies Smuggler Soccer Station Storm Syndicate Tactics Tavern Temple Throne Tides Tower
Trail Tycoon Valley Vanguard Voyage Warden Wastes Witch Workshop Zephyr Zone 星 Łódź
""")

SUBTITLES = _phrases("""
Awakening|Ashes of the North|Beyond the Gate|Blood and Brass|Complete Edition
Crossroads|Definitive Edition|Director's Cut|First Light|Game of the Year Edition|Last Stand
Legends|Of Salt and Iron|Origins|Redux|Remastered|Requiem|Resurgence|Rise of the Tide|Second Sun
The Board Game|The Long Way Home|"Unbound"|Zero
""")

OPENINGS = _phrases("""
Explore a hand-drawn world|Lead a band of misfits|Take the helm of a failing ship
Rebuild a village from ruins|Solve an old murder|Race through impossible tracks
Command the last garrison|Dig, craft and trade your way|Wake up without a memory
Outwit a clever machine|Grow a farm at the edge|Play solo or with up to four friends
Master a fast and unforgiving style of combat|Build a railway line by line
Bluff, bargain and betray
""")

MIDDLES = _phrases("""
where every choice leaves a mark|in a land that rearranges itself each night
while the storm draws closer|as rival houses fight for the throne|with over a hundred weapons
across five very different regions|in the ruins of a forgotten empire|before the clock runs out
under a sky with two suns|full of secrets — and of those who keep them
where nobody is quite what they seem|to the sound of an original score
in short sessions that never play the same
""")

LABELS = _words("""
Alpha Beta Core Digital Early Europe Full Global Handheld Japan Jumbo Light Major
Medium Mini Modern North Online Other Physical Prime Regular Retro Standard Summer Trade
Worldwide
""")
