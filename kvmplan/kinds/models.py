"""The model of each kind."""

from __future__ import annotations

from kvmplan.address import Kind
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.network import Network
from kvmplan.kinds.pool import Pool
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.model import Mapped

MODELS: dict[Kind, type[Mapped]] = {
    Kind.NETWORK: Network,
    Kind.POOL: Pool,
    Kind.VOLUME: Volume,
    Kind.DOMAIN: Domain,
}
