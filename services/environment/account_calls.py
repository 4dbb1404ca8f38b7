"""Methods of greenhouse-gas accounts and of what an area can bear."""

from __future__ import annotations

from citybrain.environment.v1 import environment_service_pb2 as pb

from citybrain.mesh.service import Streams, rpc
from citybrain.services.environment import capacity, greenhouse, quantities
from citybrain.services.environment import firms as firm
from citybrain.services.environment.outlook_calls import OutlookCalls


def account_key(firm_id: str, year: int) -> str:
    """The key of a firm's account of a year."""
    return f"{firm_id}.{year}"


def area_key(district_id: str, quantity: pb.Quantity) -> str:
    """The key of what an area can bear of a pollutant."""
    return f"{district_id}.{quantities.name(quantity).lower()}"


class AccountCalls(OutlookCalls):
    """Accounts and areas."""

    factors = Streams("factor", greenhouse.Factor, greenhouse.evolve_factor)
    accounts = Streams("greenhouse", greenhouse.Account, greenhouse.evolve)
    areas = Streams("capacity", capacity.Area, capacity.evolve)
    firms = Streams("firm", firm.Firm, firm.evolve, district=firm.district_of)

    @rpc
    def RegisterFactor(self, request: pb.RegisterFactorRequest) -> pb.RegisterFactorResponse:
        """Makes a factor known, with its source and year."""
        return self.factors.handle(
            request.factor_id,
            lambda factor: greenhouse.register(factor, request),
            lambda _after, _: pb.RegisterFactorResponse(),
        )

    @rpc
    def ReportActivity(self, request: pb.ReportActivityRequest) -> pb.ReportActivityResponse:
        """Counts an activity of a firm."""
        firm.existing(self.firms.load(request.firm_id), request.firm_id)
        factor = greenhouse.existing(self.factors.load(request.factor_id), request.factor_id)
        greenhouse.check(request, factor)
        after = self.accounts.handle(
            account_key(request.firm_id, request.year), lambda account: greenhouse.count(account, request, factor),
            lambda after, _: after,
        )  # fmt: skip
        return pb.ReportActivityResponse(tonnes=greenhouse.tonnes(after))

    @rpc
    def GetGreenhouseAccount(self, request: pb.GetGreenhouseAccountRequest) -> pb.GetGreenhouseAccountResponse:
        """The account of a firm and a year, by activity, in pages."""
        firm.existing(self.firms.load(request.firm_id), request.firm_id)
        account = self.accounts.load(account_key(request.firm_id, request.year))
        page, more = self.paging.page(request, account.items.values(), lambda item: (item.activity_id,), default=100)
        return pb.GetGreenhouseAccountResponse(tonnes=greenhouse.tonnes(account), items=page, next_page_token=more)

    @rpc
    def SetCapacity(self, request: pb.SetCapacityRequest) -> pb.SetCapacityResponse:
        """Says what an area can bear."""
        return self.areas.handle(
            area_key(request.district_id, request.quantity), lambda area: capacity.put(area, request),
            lambda _after, _: pb.SetCapacityResponse(),
        )  # fmt: skip

    @rpc
    def GetCapacity(self, request: pb.GetCapacityRequest) -> pb.GetCapacityResponse:
        """What is permitted in an area beside what it can bear."""
        area = self.areas.load(area_key(request.district_id, request.quantity))
        load = self.source_list.derived(capacity.permitted).get((request.district_id, request.quantity), (0.0, 0))
        return capacity.show(area, load)
