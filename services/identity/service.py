"""Identity (身份认证): gives out the installation's own tokens, and changes the keys that sign them."""

from __future__ import annotations

from citybrain.identity.v1 import identity_service_pb2 as pb
from citybrain.identity.v1.events_pb2 import SigningKeyChanged

from citybrain.mesh.errors import Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.service import Caller, Service, Streams, TokenKeys, every, rpc
from citybrain.services.identity import domain

HOUR_S = 3600


class IdentityService(Service):
    """The issuer of this installation."""

    name = "identity"
    keys = TokenKeys()
    caller = Caller()
    history = Streams("keys", domain.Keys, domain.evolve)

    @rpc
    def IssueToken(self, request: pb.IssueTokenRequest) -> pb.IssueTokenResponse:
        """A token that allows no more than the caller's own."""
        self.caller.require_at_least(request.scopes, request.clearance, request.district_id)
        lasts_s = request.lasts.ToTimedelta().total_seconds() if request.HasField("lasts") else self.keys.usual_s()
        token, ends_at = self.keys.issue(
            subject=request.subject, scopes=request.scopes, team=request.team, district=request.district_id,
            clearance=domain.clearance_name(request.clearance), lasts_s=lasts_s,
        )  # fmt: skip
        return pb.IssueTokenResponse(token=token, ends_at=timestamp(ends_at))

    @rpc
    def GetUsage(self, request: pb.GetUsageRequest) -> pb.GetUsageResponse:
        """What the caller has used today."""
        usage = self.caller.usage()
        usages = [pb.Usage(method_class=name, used=used, limit=usage.limits.get(name, 0)) for name, used in usage.used.items()]
        return pb.GetUsageResponse(usages=usages, begins_anew=timestamp(usage.begins_anew))

    @rpc
    def GetKeys(self, request: pb.GetKeysRequest) -> pb.GetKeysResponse:
        """The ids of the published keys."""
        known = self.keys.known()
        return pb.GetKeysResponse(key_ids=known.ids, signing=known.signing, since=timestamp(known.since))

    @rpc
    def RotateKeys(self, request: pb.RotateKeysRequest) -> pb.RotateKeysResponse:
        """Lets the next key sign."""
        return pb.RotateKeysResponse(signing=self._rotate(request.reason))

    @every(HOUR_S)
    def look_after_keys(self) -> None:
        """Makes the next key when the one before has ended, and lets it sign when it is time."""
        self.keys.tidy()
        if self.keys.due():
            self._rotate("")

    def _rotate(self, reason: str) -> str:
        signing = self.keys.rotate()
        if not signing:
            problem = "there is no next key that everybody knows: the one before is still needed, or it is new. Ask again later"
            raise Refused(problem, "NO_NEXT_KEY")
        changed = SigningKeyChanged(key_id=signing, reason=reason)
        self.history.handle("signing", lambda _: [changed], lambda after, _: after)
        return signing
