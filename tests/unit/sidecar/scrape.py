"""What a scrape says, by name and labels, read with the reader that belongs to the format."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from rescorer_sidecar.metrics import Metrics


class Scrape:
    """The samples of one exposition."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.types = {family.name: family.type for family in families}
        self.samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum over all series of this name with these labels; 0 where there is none."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums by the values of one label, those that are 0 left out."""
        values = {sample.labels[label] for sample in self.samples if sample.name == name}
        sums = {value: self(name, **{label: value}) for value in values}
        return {value: number for value, number in sums.items() if number}


def scrape(metrics: Metrics) -> Scrape:
    """What these metrics say now."""
    return Scrape(metrics.exposed()[0].decode())
