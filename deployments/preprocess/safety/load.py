"""The backends that the settings name. Torch is imported only for those that need it."""

from deployments.preprocess.safety.blocklist import Blocklist
from deployments.preprocess.safety.cards import CardClassifier
from deployments.preprocess.safety.check import SafetyCheck
from deployments.preprocess.safety.settings import SafetySettings


def load_checks(settings: SafetySettings) -> tuple[SafetyCheck, ...]:
    """In the order of ``settings.names``. Raises ValueError for one that cannot be loaded: none is left out."""
    checks: list[SafetyCheck] = []
    if settings.blocklist is not None:
        checks.append(Blocklist.load(settings.blocklist))
    if settings.cards is not None:
        checks.append(CardClassifier.load(settings.cards))
    if settings.classifier is not None:
        from deployments.preprocess.safety.classifier import Classifier

        checks.append(Classifier.load(settings.classifier))
    if settings.clip is not None:
        from deployments.preprocess.safety.clip import Clip

        checks.append(Clip.load(settings.clip))
    return tuple(checks)
