"""What Kubernetes' NetworkPolicies allow, as their specification says it; pure.

https://kubernetes.io/docs/concepts/services-networking/network-policies/ : a pod that no policy selects for a direction
is open in it; one that some select is open to what any of them allows. A connection needs both its ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from tests.deploy.files import Object, matches, of_kind


@dataclass(frozen=True)
class Pod:
    """A pod, or with an empty namespace something outside of the cluster."""

    namespace: str
    labels: Mapping[str, str]
    address: str = "10.1.2.3"


@dataclass(frozen=True)
class Cluster:
    """What decides: the labels of namespaces, and the policies."""

    namespaces: Mapping[str, Mapping[str, str]]
    policies: tuple[Object, ...]

    @classmethod
    def of(cls, objects: tuple[Object, ...], *more: str) -> Cluster:
        """The cluster in which `objects` were applied; it has the namespaces `more`, too."""
        names = {each["metadata"]["name"]: each["metadata"].get("labels", {}) for each in of_kind(objects, "Namespace")}
        names |= {name: {} for name in more}
        # The API server sets this label, and nobody can give a namespace another one.
        labelled = {name: {**labels, "kubernetes.io/metadata.name": name} for name, labels in names.items()}
        return cls(labelled, tuple(of_kind(objects, "NetworkPolicy")))

    def allows(self, source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
        """Whether a connection can be made."""
        return self._open("Egress", source, target, port, protocol) and self._open(
            "Ingress", target, source, port, protocol
        )

    def _open(self, direction: str, pod: Pod, peer: Pod, port: int, protocol: str) -> bool:
        """Whether `pod` may talk with `peer` in a direction."""
        chosen = [policy for policy in self.policies if _selects(policy, pod) and direction in _types(policy)]
        if not chosen:
            return True
        key, side = ("egress", "to") if direction == "Egress" else ("ingress", "from")
        return any(
            _port(rule, port, protocol)
            and (not rule.get(side) or any(self._peer(each, policy, peer) for each in rule[side]))
            for policy in chosen
            for rule in policy["spec"].get(key) or []
        )

    def _peer(self, told: Object, policy: Object, peer: Pod) -> bool:
        if "ipBlock" in told:
            block, address = told["ipBlock"], ip_address(peer.address)
            inside = address in ip_network(block["cidr"])
            return inside and not any(address in ip_network(each) for each in block.get("except", []))
        if not peer.namespace:
            return False
        if "namespaceSelector" in told:
            if not matches(told["namespaceSelector"], self.namespaces[peer.namespace]):
                return False
        elif peer.namespace != policy["metadata"]["namespace"]:
            return False
        return matches(told.get("podSelector", {}), peer.labels)


def _selects(policy: Object, pod: Pod) -> bool:
    return policy["metadata"]["namespace"] == pod.namespace and matches(policy["spec"]["podSelector"], pod.labels)


def _types(policy: Object) -> list[str]:
    implied = ["Ingress", "Egress"] if "egress" in policy["spec"] else ["Ingress"]
    return list(policy["spec"].get("policyTypes", implied))


def _port(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return not ports or any(
        each.get("protocol", "TCP") == protocol and each.get("port") in (None, port) for each in ports
    )
