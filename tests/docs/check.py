"""Every relative link and anchor in the repository's *.md exists; every file, command and option that they name does too.
usage: check.py MOECLIP SOURCE_FOLDER"""
import glob
import os
import re
import subprocess
import sys

MOECLIP, ROOT = sys.argv[1:3]
os.chdir(ROOT)
PAGES = sorted(p for p in glob.glob("**/*.md", recursive=True) if not p.startswith(("build/", ".deps/", "runs/")))
errors = []

# Options of other programs that the pages name, by program. A line that begins with one of these programs is not ours.
FOREIGN = {
    "cmake": "--build --preset --target --parallel --install --prefix", "ctest": "--output-on-failure --label-regex --preset",
    "pip": "--extra-index-url", "curl": "--data-binary --no-buffer", "docker": "", "mpirun": "--oversubscribe --bind-to --allow-run-as-root --host --hostfile",
    "srun": "--mpi", "sbatch": "--signal", "mypy": "--strict", "perf": "", "wrk": "", "gcc": "", "cc": "", "pkg-config": "--cflags --libs --static", "python3": "",
    "git": "", "apt-get": "", "ffmpeg": "", "nsys": "", "sqlite3": "", "man": "",
}
foreign = {o for text in FOREIGN.values() for o in text.split()}


def help_of(*command):
    p = subprocess.run(command, capture_output=True, text=True)
    return p.stdout + p.stderr


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
commands = {}
for line in help_of(MOECLIP, "--help").splitlines():
    m = re.match(r"  ([a-z]+(?: [a-z]+)?)  ", line)
    if m:
        commands[m[1]] = set()
assert len(commands) > 8, commands
commands.pop("bench", None)
commands.setdefault("bench mtil", set())
commands.setdefault("bench cil", set())
for name in commands:
    commands[name] = set(OPTION.findall(help_of(MOECLIP, *name.split(), "--help"))) | {"--help"}
ours = set().union(*commands.values()) | {"--version"}
for script in glob.glob("scripts/*") + glob.glob("bench/*") + glob.glob("tests/**/*.py", recursive=True) + ["test", "demo"] + glob.glob("tests/fuzz/replay.c"):
    if os.path.isfile(script):
        with open(script, encoding="utf-8", errors="replace") as f:
            ours |= set(OPTION.findall(f.read()))  # the scripts' options are few: that the script knows the word will do


def slug(heading):
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text.replace("`", "")).replace(" ", "-")


def anchors(page):
    seen, out, code = {}, set(), False
    with open(page, encoding="utf-8") as f:
        for line in f:
            code ^= line.startswith("```")
            m = None if code else re.match(r"#{1,6} +(.*?)#* *$", line.rstrip("\n"))
            if m:
                s = slug(m[1])
                out.add(s if s not in seen else f"{s}-{seen[s]}")
                seen[s] = seen.get(s, 0) + 1
            out |= set(re.findall(r'(?:id|name)="([^"]+)"', line))
    return out


def check_link(page, where, target):
    if re.match(r"[a-z]+:", target):
        return
    path, _, anchor = target.partition("#")
    file = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    if not os.path.exists(file):
        errors.append(f"{where}: there is no {target}")
    elif anchor and file.endswith(".md") and anchor not in anchors(file):
        errors.append(f"{where}: {file} has no heading #{anchor}")


TOP = {n for n in os.listdir(".") if os.path.isdir(n) and not n.startswith(".") and n not in ("build", "runs")}


def check_path(where, word):
    word = word.rstrip(".,:;")
    if not re.fullmatch(r"\.?/?[\w.-]+(/[\w.*-]+)*/?", word) or "NAME" in word:
        return
    if word in ("./test", "./demo") or (word.startswith("./") and "/" not in word[2:] and "." not in word[2:]):
        if not os.path.exists(word) and word != "./moeclip":
            errors.append(f"{where}: there is no {word}")
        return
    first = word.removeprefix("./").split("/")[0]
    if "/" not in word.removeprefix("./") or first not in TOP:
        return
    # src/ folders are named without src/ too: compute/kernels.h.
    if not glob.glob(word) and not glob.glob("src/" + word) and not any(word.startswith(p) for p in MADE):
        errors.append(f"{where}: there is no {word}")


# What running something makes, or a user has.
MADE = ("data/zeroshot/", "docs/demo-")


def check_command(where, text):
    """A line of the shell: moeclip's options against that very command's, the others against all that is known."""
    for part in re.split(r"\||&&|;|\$\(", text):
        for handed in re.findall(r'--with "([^"]*)"', part):  # by bench compare
            for o in set(OPTION.findall(handed)) - commands["learn"]:
                errors.append(f"{where}: moeclip learn has no {o}")
        part = re.sub(r'--with "[^"]*"', "--with", part)
        words = part.split()
        while words and re.match(r"^[A-Z_]+=", words[0]):
            words.pop(0)
        options = set(OPTION.findall(part))
        own = [i for i, w in enumerate(words) if os.path.basename(w) == "moeclip"]
        if own and own[-1] + 1 < len(words):
            rest = words[own[-1] + 1:]
            name = " ".join(rest[:2]) if rest[0] == "bench" else rest[0]
            after = set(OPTION.findall(" ".join(rest)))
            if name in commands:
                for o in after - commands[name]:
                    errors.append(f"{where}: moeclip {name} has no {o}")
                options -= after
            elif re.fullmatch(r"[a-z]+", rest[0]) and rest[0] not in ("bench",) and part.strip().startswith(("moeclip", "build", "./")):
                errors.append(f"{where}: moeclip has no command {rest[0]}")
        if words and os.path.basename(words[0]) in FOREIGN:
            continue
        for o in options - ours - foreign:
            errors.append(f"{where}: nothing here knows {o}")


n_links = n_code = 0
for page in PAGES:
    with open(page, encoding="utf-8") as f:
        text = f.read()
    lines = text.split("\n")
    code, command = False, ""
    for number, line in enumerate(lines, 1):
        where = f"{page}:{number}"
        if line.lstrip().startswith("```"):
            code = not code
            continue
        if code or line.startswith("    "):
            # Continued lines are one command.
            command += line.rstrip("\\") + " "
            if line.endswith("\\"):
                continue
            stripped = re.sub(r"(^|\s)#.*", "", command)
            command = ""
            n_code += 1
            check_command(where, stripped)
            for word in stripped.split():
                if not word.startswith("-"):
                    check_path(where, word)
            continue
        for target in re.findall(r"\[[^]]*\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", line)) + re.findall(r'(?:src|href)="([^"]+)"', line):
            n_links += 1
            check_link(page, where, target)
        for span in re.findall(r"`([^`]+)`", line):
            n_code += 1
            check_command(where, span)
            for word in span.split():
                check_path(where, word)

for e in errors:
    print(e)
print(f"{len(PAGES)} pages, {n_links} links, {n_code} pieces of code, {len(errors)} errors")
assert n_links > 20 and n_code > 200, "this test no longer finds what it is to check"
sys.exit(bool(errors))
