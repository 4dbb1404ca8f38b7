"""Lists of sagas on a real Kafka and a real Cassandra: every process has them, also after a restart, and wakes who watches."""

from __future__ import annotations

from collections.abc import Callable

from citybrain.sagas.v1 import saga_service_pb2 as pb

from citybrain.local.city import LocalCity
from citybrain.mesh.settings.values import Processes, Settings
from tests.helpers.paper_city import WallCity
from tests.helpers.waiting import until

# The gateway sends calls to the processes in turn: so many in a row reach each of them.
IN_A_ROW = 12


def everywhere(is_so: Callable[[], bool]) -> bool:
    return all(is_so() for _ in range(IN_A_ROW))


def test_what_one_process_ends_each_lists_and_tells_who_watches_also_after_a_restart(settings: Settings) -> None:
    groups = (("sagas",),)
    several = settings.model_copy(update={"processes": Processes(groups=groups, copies={"sagas": 2})})

    def listed(city: WallCity, **question: object) -> list[str]:
        request = pb.ListSagasRequest(**question)  # type: ignore[arg-type]
        return [saga.saga_id for saga in city.call(city.sagas.ListSagas, request).sagas]

    with LocalCity(several) as local:
        assert local.gateway is not None
        city = WallCity(local.gateway.address, local.data)
        city.build(ambulances=0)
        first, second = city.report("call-1"), city.report("call-2")
        until(lambda: everywhere(lambda: set(listed(city)) == {first, second}), "each process lists both")
        assert listed(city, correlation_id=first, states=[pb.SAGA_STATE_RUNNING]) == [first]
        drill = f"fire-1~{city.report('drill', exercise='fire-1')}"
        until(lambda: everywhere(lambda: listed(city, exercise="fire-1") == [drill]), "each process lists that of the drill")
        assert set(listed(city)) == {first, second}
        watched = city.sagas.WatchSaga(pb.WatchSagaRequest(saga_id=first), timeout=60)
        assert next(watched).saga.state == pb.SAGA_STATE_RUNNING
        end = pb.TerminateSagaRequest(saga_id=first, reason="a drill")
        assert city.call(city.sagas.TerminateSaga, end).saga.state == pb.SAGA_STATE_TERMINATED
        *_, last = watched
        assert last.saga.state == pb.SAGA_STATE_TERMINATED
        ended = {"states": [pb.SAGA_STATE_TERMINATED]}
        until(lambda: everywhere(lambda: listed(city, **ended) == [first]), "each process lists it as ended")
        city.close()
    with LocalCity(several) as local:
        assert local.gateway is not None
        city = WallCity(local.gateway.address, local.data)
        until(lambda: everywhere(lambda: listed(city, **ended) == [first] and set(listed(city)) == {first, second}), "the same")
        until(lambda: everywhere(lambda: listed(city, exercise="fire-1") == [drill]), "that of the drill too")
        city.close()
