"""What the gateway does when memory or connections run out: it ends those who hold much, and refuses the rest in time."""

from __future__ import annotations

from typing import Any

from citybrain.gateway.settings import GatewaySettings

_EXTENSIONS = "type.googleapis.com/envoy.extensions"


def overload(settings: GatewaySettings) -> dict[str, Any]:
    """Refuses before memory or connections run out."""
    monitors = f"{_EXTENSIONS}.resource_monitors"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.fixed_heap",
                "typed_config": {
                    "@type": f"{monitors}.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": settings.max_heap_bytes,
                },
            },
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": settings.max_connections,
                },
            },
        ],
        # HTTP/2: calls that hold most memory are ended first. (Envoy does not count HTTP/1; large bodies there have a lane.)
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 18},
        "actions": [
            {
                "name": "envoy.overload_actions.reset_high_memory_stream",
                "triggers": [
                    {
                        "name": "envoy.resource_monitors.fixed_heap",
                        "scaled": {"scaling_threshold": 0.6, "saturation_threshold": 0.9},
                    }
                ],
            },
            # Callers that never read their answers hold memory, in HTTP/1 on connections that look idle. The less memory there
            # is, the sooner these end.
            {
                "name": "envoy.overload_actions.reduce_timeouts",
                "triggers": [
                    {
                        "name": "envoy.resource_monitors.fixed_heap",
                        "scaled": {"scaling_threshold": 0.5, "saturation_threshold": 0.8},
                    }
                ],
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
                    "timer_scale_factors": [
                        {"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "1s"},
                        {"timer": "HTTP_DOWNSTREAM_STREAM_FLUSH", "min_timeout": "1s"},
                    ],
                },
            },
            _when_heap("envoy.overload_actions.shrink_heap", 0.9),
            _when_heap("envoy.overload_actions.stop_accepting_requests", 0.95),
        ],
    }


def _when_heap(action: str, threshold: float) -> dict[str, Any]:
    return {
        "name": action,
        "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": threshold}}],
    }
