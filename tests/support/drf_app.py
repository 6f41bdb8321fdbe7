"""A Django REST framework API over rows of a JSON file: ``python -m … FILE PORT``.

``/cursor`` pages by the framework's CursorPagination (an opaque next URL in the body),
``/offset/``, as Django writes addresses, by its LimitOffsetPagination (count, next and results).
"""

import json
import sys
from pathlib import Path
from typing import Any

import uvicorn


def main(data: Path, port: int) -> None:
    import django
    from django.conf import settings

    database = data.with_suffix(".db")
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
        REST_FRAMEWORK={"DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]},
        USE_TZ=True,
    )
    django.setup()
    globals()["urlpatterns"] = _views(json.loads(data.read_text()))
    from django.core.asgi import get_asgi_application

    uvicorn.run(
        get_asgi_application(), host="127.0.0.1", port=port, log_level="error", lifespan="off"
    )


def _views(rows: list[dict[str, Any]]) -> list[Any]:
    from django.db import connection, models
    from django.urls import path
    from rest_framework import generics, pagination, serializers

    class Unit(models.Model):  # type: ignore[misc]
        id = models.IntegerField(primary_key=True)
        name = models.TextField()
        size = models.IntegerField()
        changed = models.DateTimeField(db_index=True)

        class Meta:
            app_label = "contenttypes"

    with connection.schema_editor() as editor:
        editor.create_model(Unit)
    Unit.objects.bulk_create([Unit(**row) for row in rows], batch_size=200)

    class UnitSerializer(serializers.ModelSerializer):  # type: ignore[misc]
        class Meta:
            model = Unit
            fields = ("id", "name", "size", "changed")

    class ByCursor(pagination.CursorPagination):  # type: ignore[misc]
        page_size = 500
        ordering = ("changed", "id")

    class ByOffset(pagination.LimitOffsetPagination):  # type: ignore[misc]
        max_limit = 1000

    class Units(generics.ListAPIView):  # type: ignore[misc]
        serializer_class = UnitSerializer

        def get_queryset(self) -> Any:
            known = {"changed__gte", "changed__lt"} & self.request.query_params.keys()
            wanted = {name: self.request.query_params[name] for name in known}
            return Unit.objects.filter(**wanted).order_by("id")

    return [
        path("cursor", Units.as_view(pagination_class=ByCursor)),
        path("offset/", Units.as_view(pagination_class=ByOffset)),
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
