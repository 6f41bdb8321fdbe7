"""The sender of a source that is read in lanes: AWS, an account in a region.

``sessions`` has the credentials of each account, and renews them; ``lane_client`` is the engine's
client with what AWS's errors mean; ``lane_sender`` has a client, a budget and a breaker for each
account, region and service, and calls operations; ``discovery`` finds the accounts and the regions
when a run begins.
"""

from pipeline.lanes.discovery import Lane, lanes_of, values_of_lanes
from pipeline.lanes.lane_sender import LaneSender, open_lanes

__all__ = ["Lane", "LaneSender", "lanes_of", "open_lanes", "values_of_lanes"]
