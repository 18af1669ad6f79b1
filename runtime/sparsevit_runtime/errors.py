"""The exception tree. Every message says what happened, the values seen, and the next step."""


class SparseViTError(Exception):
    """Base of every error this project raises on purpose."""


class ArgumentError(SparseViTError, ValueError, TypeError):
    """An argument is of a type or value that means nothing here."""


class SelectionError(ArgumentError, IndexError):
    """An index or mask that does not fit the result it selects from."""


class ModelError(SparseViTError):
    """A model file cannot be opened, or is not one of ours."""


class CardError(ModelError):
    """The model card is missing, invalid, or written by a newer schema."""


class PlanError(SparseViTError, ValueError):
    """A sparsity plan does not fit the model or breaks the rules of the reference."""


class FrameError(SparseViTError, ValueError):
    """An array is not a frame: (H, W, 3) uint8 BGR with H, W >= 1."""


class ImageError(SparseViTError):
    """An image file is missing, truncated, or does not decode."""


class SourceError(SparseViTError):
    """A source cannot be opened or read."""


class SourceLostError(SourceError):
    """A live source went away, and did not come back."""


class PermanentSourceError(SourceError):
    """A source that cannot be opened however often it is tried: a wrong address, option or password."""


class SourceSilentError(SourceError):
    """A source that is there, and from which nothing came in time."""


class SourceNotFoundError(PermanentSourceError):
    """A server that has nothing at an address. Where something was before, it may be there again later."""


class SessionError(SparseViTError):
    """A session is asked for what it cannot do in its state."""


class SinkError(SparseViTError):
    """A sink cannot be opened or written."""


class DiskFullError(SinkError):
    """There is no room for more: a full disk, a quota, or a limit on the size of a file."""


class ConfigError(SparseViTError):
    """A configuration file cannot be read, or says what means nothing."""


class BackendError(SparseViTError):
    """A backend is unavailable, or failed while running."""


class ServerError(BackendError):
    """A server that runs a model is away or does not answer in time. It may be back for the next run."""


class BuildError(SparseViTError):
    """An engine cannot be built: TensorRT refuses the model, or what it needs is missing."""


class MissingDependencyError(SparseViTError, ImportError):
    """A library that is needed for what was asked is not installed, or does not load."""


class BatchError(SparseViTError):
    """A batch job cannot be planned, run, or gone on with."""


class CheckpointError(SparseViTError):
    """A checkpoint cannot be read, or does not hold the weights of the model."""


class ExportError(SparseViTError):
    """A network cannot be exported, or the exported file does not match it."""


class DatasetError(SparseViTError):
    """A dataset is empty, or does not have the expected layout."""
