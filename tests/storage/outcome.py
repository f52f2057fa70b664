"""What a run of one kind of fault gives: figures, and everything that is not as it must be."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Outcome"]

MOST_FINDINGS = 50


@dataclass
class Outcome:
    """Findings in words and figures by name; no finding means that all is well."""

    fault: str
    count: int = 0
    findings: list[str] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)

    def expect(self, holds: object, text: str) -> bool:
        """Note a finding unless the condition holds; return whether it does."""
        if not holds:
            self.findings.append(text)
        return bool(holds)

    def facts(self) -> dict[str, Any]:
        """Everything, for JSON; of many findings only the first."""
        return {
            "fault": self.fault,
            "count": self.count,
            "ok": not self.findings,
            "findings": self.findings[:MOST_FINDINGS],
            "figures": dict(sorted(self.figures.items())),
        }
