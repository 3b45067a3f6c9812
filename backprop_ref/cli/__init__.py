"""The command ``backprop-ref``. Exit status: 0 fine, 1 a check failed or training diverged, 2 wrong usage, 130 Ctrl-C."""

import os
import sys
import warnings

from backprop_ref.errors import BackpropRefError, TrainingDiverged


def main(arguments=None):
    """Runs the command line and ends the process with its exit status."""
    sys.exit(run(arguments))


def run(arguments=None):
    """Runs the command line; a user's mistake becomes one line on standard error. Returns the exit status."""
    from backprop_ref.cli.app import command

    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status = command()(args=arguments, prog_name="backprop-ref", standalone_mode=False)
            sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except TrainingDiverged as error:
        return _say(error, 1)
    except BackpropRefError as error:
        return _say(error, 2)
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _say(f"{error.filename or 'system'}: {error.strerror or error}", 2)
    except MemoryError as error:
        return _say(f"not enough memory: {error}; use fewer rows, smaller layers or float32", 2)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _say(f"{error.format_message()} See --help.", error.exit_code)


def _say(message, status):
    print("error:", " ".join(str(message).split()), file=sys.stderr)
    return status
