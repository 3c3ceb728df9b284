"""Runs one reward function of a user's file, for a worker of Ocelli (`plugin/process.rs` starts it).

Protocol: one JSON document a line, first the setup and then batches, each answered by one line. It goes over copies of
the descriptors 0 and 1; the plug-in itself sees an empty input, and its prints go to the standard error.
Standard library only, Python 3.8 or later.
"""

import sys

# With `-c` the current folder comes first in the search path. A reward file that is called `math.py` must not stand in
# for the standard library's, so the folder goes to the end, before anything else is imported.
if sys.path and sys.path[0] == "":
    sys.path.append(sys.path.pop(0))

import ast
import collections.abc
import faulthandler
import inspect
import json
import os
import signal
import threading
import traceback
import types

# Room for a plug-in's own helpers; enough to stop a fork bomb before it stops the machine.
PROCESSES = 1024
TRACEBACKS_A_BATCH = 3
NAMED_SCORES = 64
LONGEST_NAME = 100
LONGEST_MESSAGE = 600


class StartError(Exception):
    """The plug-in cannot be used: `kind` is a variant of `PluginError`, `names` are candidates for a suggestion."""

    def __init__(self, kind, message, names=()):
        super().__init__(message)
        self.kind = kind
        self.names = list(names)


class Garbage(Exception):
    """The function returned what no reward can be."""


# ---- the process ----------------------------------------------------------------------------------------------------


class Channel:
    """The protocol's two streams, out of reach of the plug-in's prints and of its forked children."""

    def __init__(self):
        self.requests = os.fdopen(os.dup(0), "rb")
        self.replies = os.fdopen(os.dup(1), "wb")
        self.nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(self.nothing, 0)
        os.dup2(2, 1)
        for stream in (sys.stdout, sys.stderr):  # No print fails for the locale's sake.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")

    def receive(self):
        line = self.requests.readline()
        return json.loads(line) if line else None

    def send(self, document):
        self.replies.write(json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n")
        self.replies.flush()

    def close_in_child(self):
        os.dup2(self.nothing, self.requests.fileno())
        os.dup2(self.nothing, self.replies.fileno())


class Family:
    """Has this process and its forked children die with their parents, whatever ends those (Linux only)."""

    def __init__(self, channel):
        self.channel = channel
        self.owner = self.pid = os.getpid()
        self.from_main_thread = True
        self.prctl = None
        if sys.platform.startswith("linux"):
            try:
                import ctypes

                self.prctl = ctypes.CDLL(None).prctl
            except (ImportError, OSError, AttributeError):
                pass
        # Should the parent be dead already, the end of the requests ends this process.
        self.ask_for_death_signal()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.before_fork, after_in_child=self.in_child)

    def ask_for_death_signal(self):
        if self.prctl is not None:
            set_parent_death_signal = 1
            self.prctl(set_parent_death_signal, int(signal.SIGKILL), 0, 0, 0)

    def before_fork(self):
        self.from_main_thread = threading.current_thread() is threading.main_thread()

    def in_child(self):
        parent, self.pid = self.pid, os.getpid()
        self.channel.close_in_child()
        # The signal comes when the thread that forked ends, and only the main thread lives as long as its process.
        if self.from_main_thread and self.prctl is not None:
            self.ask_for_death_signal()
            if os.getppid() != parent:
                os._exit(1)

    def leave_if_forked(self):
        """Ends a forked copy that has come back out of the plug-in: it must not go on in its parent's place."""
        if os.getpid() != self.owner:
            os._exit(0)


def set_limits(memory_bytes):
    try:
        import resource
    except ImportError:
        return
    lower_limit(resource, resource.RLIMIT_CORE, 0)
    if memory_bytes is not None:
        lower_limit(resource, resource.RLIMIT_AS, memory_bytes)
    # The kernel counts a user's tasks, not a tree's, and does not count those of the superuser.
    if os.getuid() != 0 and os.path.isdir("/proc/self/task"):
        lower_limit(resource, resource.RLIMIT_NPROC, tasks_of_user() + PROCESSES)


def lower_limit(resource, which, value):
    _, hard = resource.getrlimit(which)
    if hard == resource.RLIM_INFINITY or value < hard:
        resource.setrlimit(which, (value, value))


def tasks_of_user():
    tasks = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat("/proc/" + entry).st_uid == os.getuid():
                tasks += len(os.listdir("/proc/" + entry + "/task"))
        except OSError:
            pass  # It has ended meanwhile.
    return tasks


# ---- loading --------------------------------------------------------------------------------------------------------


def load(path):
    """The file as a module and as a syntax tree. It is compiled here and not imported: so no stale byte code is used, and
    none is written."""
    module = types.ModuleType("ocelli_plugin_" + os.path.splitext(os.path.basename(path))[0])
    module.__file__ = path
    sys.modules[module.__name__] = module
    # Last, for the reason given above.
    sys.path.append(os.path.dirname(path))
    try:
        with open(path, "rb") as file:
            source = file.read()
        try:
            tree = ast.parse(source, path)
            code = compile(tree, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            raise StartError("syntax", describe(error, path, getattr(error, "lineno", None)))
        exec(code, module.__dict__)
    except StartError:
        raise
    except ImportError as error:
        raise StartError("import", describe(error, path))
    except BaseException as error:
        traceback.print_exc()
        raise StartError("load", describe(error, path))
    return module, tree


def find(module, name):
    function = getattr(module, name, None)
    if function is None:
        own = [
            name
            for name, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        ]
        raise StartError("function", "", own)
    if not callable(function) or inspect.isclass(function):
        raise StartError("callable", "a " + ("class" if inspect.isclass(function) else type(function).__name__))
    return function


def style_of(module, names):
    """The convention a function is written for, by its parameters' names, else by EasyR1's module global."""
    if "completions" in names:
        return "trl"
    if "solution_str" in names:
        return "verl"
    declared = getattr(module, "REWARD_TYPE", None)
    if declared in ("batch", "sequential"):
        return "easyr1_batch" if declared == "batch" else "easyr1"
    if "reward_inputs" in names:
        return "easyr1_batch"
    if "reward_input" in names:
        return "easyr1"
    raise StartError("style", ", ".join(names) or "none")


def reads_messages(tree):
    """Whether the file takes a chat message's text out of a list of messages, as in `completion[0]["content"]`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and key_of(node) == "content":
            inner = node.value
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "get":
            inner = node.func.value if [literal(argument) for argument in node.args[:1]] == ["content"] else None
        else:
            continue
        if isinstance(inner, ast.Subscript) and isinstance(key_of(inner), int):
            return True
    return False


def key_of(subscript):
    # Python 3.8 wraps the key in a node of its own.
    return literal(getattr(subscript.slice, "value", subscript.slice))


def literal(node):
    try:
        return ast.literal_eval(node) if isinstance(node, ast.AST) else node
    except ValueError:
        return None


class Function:
    """A loaded function with the way it is called."""

    def __init__(self, setup):
        self.path = setup["path"]
        module, tree = load(self.path)
        self.call = find(module, setup["function"])
        parameters = inspect.signature(self.call).parameters.values()
        self.takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        self.names = [p.name for p in named]
        self.required = [p.name for p in named if p.default is p.empty]
        self.style = setup["style"] or style_of(module, self.names)
        self.completions = setup["completions"] or ("messages" if reads_messages(tree) else "text")
        self.may_switch = setup["completions"] is None and self.completions == "text"
        self.kwargs = setup["kwargs"]
        self.check_kwargs()
        self.is_async = inspect.iscoroutinefunction(self.call) or inspect.iscoroutinefunction(
            getattr(self.call, "__call__", None)
        )
        # One for all batches: clients that a plug-in opens belong to the loop they were opened in.
        self.loop = None

    def check_kwargs(self):
        """Refuses settings that would fail in every call."""
        given_by_us = {
            "easyr1_batch": self.names[:1],
            "easyr1": self.names[:1],
            "verl": ["data_source", "solution_str", "ground_truth", "extra_info"],
            "trl": ["prompts", "completions", "completion_ids"],
        }[self.style]
        for name in self.kwargs:
            if name in given_by_us:
                raise StartError("kwargs", "`%s` is filled in by the trainer and cannot be given in `kwargs`" % name)
            if name not in self.names and not self.takes_any:
                raise StartError("kwargs", "it takes no argument `%s`; it takes: %s" % (name, ", ".join(self.names)))
        if self.style == "trl":
            return  # The rest of the arguments are columns, which the rows decide.
        if self.style.startswith("easyr1") and not self.names:
            raise StartError("kwargs", "it takes no argument, and the style `%s` gives it one" % self.style)
        missing = [name for name in self.required if name not in given_by_us and name not in self.kwargs]
        if missing:
            raise StartError("kwargs", "it needs the argument `%s`; give it in `kwargs`" % "`, `".join(missing))

    def accepted(self, arguments):
        """Those that the function takes, and the settings of the recipe."""
        taken = arguments if self.takes_any else {k: v for k, v in arguments.items() if k in self.names}
        return {**taken, **self.kwargs}

    # ---- calling ----

    def score(self, rows):
        """One reply a row, or one fault for all of them."""
        try:
            if self.style == "trl":
                return {"rows": self.trl(rows)}
            if self.style == "easyr1_batch":
                results = self.settle(self.call([easyr1_input(row) for row in rows], **self.kwargs))
                return {"rows": [self.judged(overall, result) for result in checked_list(results, rows)]}
        except BaseException as error:
            FAMILY.leave_if_forked()
            traceback.print_exc()
            return {"fault": self.fault(error)}
        return {"rows": self.one_by_one(rows)}

    def one_by_one(self, rows):
        if self.style == "easyr1":
            judge, start = overall, lambda row: self.call(easyr1_input(row), **self.kwargs)
        else:
            judge, start = score_of, lambda row: self.call(**self.accepted(verl_arguments(row)))
        replies, shown = [], 0
        for result in self.together(start, rows) if self.is_async else self.in_turn(start, rows):
            FAMILY.leave_if_forked()
            if isinstance(result, BaseException):
                if shown < TRACEBACKS_A_BATCH:
                    traceback.print_exception(type(result), result, result.__traceback__)
                shown += 1
                replies.append({"fault": self.fault(result)})
            else:
                replies.append(self.judged(judge, result[0]))
        return replies

    def in_turn(self, start, rows):
        """Each call's result in a tuple of one, or what it raised."""
        for row in rows:
            try:
                yield (self.settle(start(row)),)
            except BaseException as error:
                yield error

    def together(self, start, rows):
        import asyncio

        async def guarded(row):
            try:
                return (await start(row),)
            except BaseException as error:
                return error

        async def gather():
            return await asyncio.gather(*map(guarded, rows))

        return self.settle(gather())

    def settle(self, result):
        if not inspect.isawaitable(result):
            return result
        import asyncio

        async def awaited():
            return await result

        if self.loop is None:
            self.loop = asyncio.new_event_loop()
        return self.loop.run_until_complete(awaited())

    def trl(self, rows):
        """The replies of a TRL function. One that takes its strings for messages, which every call of it shows at once,
        gets messages from then on."""
        try:
            return self.trl_call(rows, self.completions)
        except (TypeError, AttributeError) as error:
            if not self.may_switch or not any(sign in str(error) for sign in ("string ind", "'str' object has no")):
                raise
            replies = self.trl_call(rows, "messages")
        self.completions = "messages"
        self.may_switch = False
        print("it takes completions for lists of messages, and gets them from here on")
        return replies

    def trl_call(self, rows, form):
        extra, metrics = {}, {}
        columns = trl_columns(rows)
        arguments = {
            **columns,
            "prompts": [row["messages"] if form == "messages" else plain_prompt(row) for row in rows],
            "completions": [trl_completion(row, form) for row in rows],
            "completion_ids": [row["token_ids"] for row in rows],
            "log_extra": extra.__setitem__,
            "log_metric": metrics.__setitem__,
        }
        accepted = self.accepted(arguments)
        missing = [name for name in self.required if name not in accepted]
        if missing:
            raise Garbage(
                "asks for the column `%s`, which no row has; the rows have: %s" % ("`, `".join(missing), ", ".join(columns))
            )
        results = checked_list(self.settle(self.call(**accepted)), rows)
        replies = [{} if result is None else self.judged(plain, result) for result in results]
        # Numbers that the function logs for a row, or for the batch, become named scores.
        for index, reply in enumerate(replies):
            if "value" in reply:
                logged = {name: values[index] for name, values in extra.items() if is_list_of(len(rows), values)}
                reply["names"] = named_numbers({**metrics, **logged})
        return replies

    def judged(self, judge, result):
        try:
            return judge(result)
        except Garbage as error:
            return {"fault": self.fault(error)}

    def fault(self, error):
        if isinstance(error, Garbage):
            return {"message": cut(str(error)), "retryable": False}
        return {"message": "raised " + describe(error, self.path), "retryable": may_pass(error)}


# ---- arguments ------------------------------------------------------------------------------------------------------


def easyr1_input(row):
    return {
        **row["columns"],
        "response": row["response"],
        "response_length": row["response_length"],
        "ground_truth": row["target"],
    }


def verl_arguments(row):
    columns = row["columns"]
    return {
        "data_source": columns.get("data_source", columns.get("source", "")),
        "solution_str": row["response"],
        "ground_truth": row["target"],
        "extra_info": {"id": row["id"], **columns},
    }


def trl_columns(rows):
    """A list a column: the rows' tags, `id`, and the target under the names that data sets give it."""
    complete = [
        {
            "id": row["id"],
            **dict.fromkeys(("target", "ground_truth", "solution", "answer"), row["target"]),
            **row["columns"],
        }
        for row in rows
    ]
    names = dict.fromkeys(name for row in complete for name in row)
    return {name: [row.get(name) for row in complete] for name in names if name not in ("prompt", "completion")}


def plain_prompt(row):
    """The text of all messages, a line each, without pictures."""
    return "\n".join(plain_text(message["content"]) for message in row["messages"])


def plain_text(content):
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def trl_completion(row, form):
    return row["response"] if form == "text" else [{"role": "assistant", "content": row["response"]}]


# ---- results --------------------------------------------------------------------------------------------------------


def overall(result):
    """EasyR1: a dict with `overall`; its other numbers are named scores."""
    if not isinstance(result, collections.abc.Mapping):
        raise Garbage("returned %s where a dict with the key `overall` is wanted" % shown(result))
    return named_score(result, "overall")


def score_of(result):
    """verl: a number, or a dict with `score` whose other numbers are named scores."""
    return named_score(result, "score") if isinstance(result, collections.abc.Mapping) else plain(result)


def named_score(result, key):
    if key not in result:
        raise Garbage("returned a dict without the key `%s`; it has: %s" % (key, ", ".join(map(str, result)) or "none"))
    names = named_numbers({name: value for name, value in result.items() if name != key})
    return {"value": number(result[key], "`%s` = " % key), "names": names}


def plain(result):
    return {"value": number(result)}


def number(value, what=""):
    """A finite float; scalars of numpy and torch through their `item`."""
    try:
        found = value if isinstance(value, (int, float)) else value.item()
        if not isinstance(found, (int, float)):
            raise TypeError
        found = float(found)
    except Exception:
        raise Garbage("returned %s%s where a number is wanted" % (what, shown(value)))
    if found != found or found in (float("inf"), float("-inf")):
        raise Garbage("returned %s%s, which is not finite" % (what, found))
    return found


def named_numbers(values):
    """The finite numbers among them: parts such as verl's `pred` hold text, and nothing can be averaged over it."""
    names = {}
    for name, value in values.items():
        try:
            names[cut(str(name), LONGEST_NAME)] = number(value)
        except Garbage:
            pass
        if len(names) == NAMED_SCORES:
            break
    return names


def is_list_of(length, values):
    return isinstance(values, (list, tuple)) and len(values) == length


def checked_list(results, rows):
    if hasattr(results, "tolist"):
        results = results.tolist()
    if not isinstance(results, (list, tuple)):
        raise Garbage("returned %s where a list of %d is wanted" % (shown(results), len(rows)))
    if len(results) != len(rows):
        raise Garbage("returned a list of %d for %d episodes" % (len(results), len(rows)))
    return results


# ---- errors ---------------------------------------------------------------------------------------------------------


def describe(error, path, line=None):
    """The last line of the traceback and the deepest line of the plug-in's file in it."""
    text = traceback.format_exception_only(type(error), error)[-1].strip()
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == path:
            line = step.tb_lineno
        step = step.tb_next
    return cut(text) if line is None else "%s (line %d)" % (cut(text), line)


def may_pass(error):
    """Whether the same call may go well later: the network or its other end failed."""
    endings = ("ConnectionError", "Timeout", "TimeoutError", "RateLimitError", "URLError")
    return any(kind.__name__.endswith(endings) for kind in type(error).__mro__)


def shown(value):
    try:
        return cut("%s (%s)" % (repr(value), type(value).__name__), 100)
    except Exception:
        return "a " + type(value).__name__


def cut(text, length=LONGEST_MESSAGE):
    """Of bounded length, and without what is no Unicode: halves of surrogate pairs."""
    text = text if len(text) <= length else text[:length] + "…"
    return text.encode("utf-8", "replace").decode("utf-8")


# ---- main -----------------------------------------------------------------------------------------------------------

CHANNEL = Channel()
SETUP = CHANNEL.receive()
if SETUP is None:
    sys.exit(0)
FAMILY = Family(CHANNEL)
faulthandler.enable()
if hasattr(faulthandler, "register"):
    # The parent asks where a call hangs before it kills.
    faulthandler.register(signal.SIGUSR1, all_threads=False)
try:
    set_limits(SETUP["memory_bytes"])
    FUNCTION = Function(SETUP)
except StartError as error:
    FAMILY.leave_if_forked()
    CHANNEL.send({"refused": {"kind": error.kind, "message": cut(str(error)), "names": [cut(n) for n in error.names]}})
    sys.exit(1)
CHANNEL.send({"ready": {"style": FUNCTION.style}})
while True:
    BATCH = CHANNEL.receive()
    if BATCH is None:
        break
    REPLY = FUNCTION.score(BATCH["rows"])
    FAMILY.leave_if_forked()
    CHANNEL.send({"id": BATCH["id"], **REPLY})
