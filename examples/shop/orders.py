"""The orders of the shop. Each is a function of its number and the time, so there is no database.

Every ten minutes a customer orders. Three hours later the order is sent, which changes its row.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

FIRST = datetime(2026, 10, 25, tzinfo=UTC)
EVERY = timedelta(minutes=10)
SENT_AFTER = timedelta(hours=3)
CUSTOMERS = ("Ada", "Björn", "Chiara", "Deniz", "Eszter", "Fatou", "Grete", "Hiro")
GOODS = ("sled", "rocket", "lamp", "kettle", "rope")


def orders(now: datetime) -> list[dict[str, Any]]:
    """All orders at an instant, by id."""
    return [order(number, now) for number in range(1, (now - FIRST) // EVERY + 2)]


def order(number: int, now: datetime) -> dict[str, Any]:
    """One order as it is at an instant."""
    created = FIRST + (number - 1) * EVERY
    sent = created + SENT_AFTER <= now
    return {
        "id": number,
        "status": "sent" if sent else "new",
        "created_at": _text(created),
        "updated_at": _text(created + SENT_AFTER if sent else created),
        "customer": {"name": CUSTOMERS[number % len(CUSTOMERS)], "vip": number % 5 == 0},
        "lines": [
            {"sku": GOODS[(number + line) % len(GOODS)], "pieces": 1 + (number + line) % 3}
            for line in range(1 + number % 2)
        ],
        "total": f"{10 + number * 7 % 90}.{number % 100:02d}",
    }


def _text(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
