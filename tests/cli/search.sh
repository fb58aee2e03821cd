#!/bin/sh
# index and search from end to end with a tiny CLIP: what changed, kill -9 at any moment, several processes, files that are no
# index. usage: search.sh MOECLIP DATA PICTURES
M=$(realpath "$1") PICTURES=$3
. "$(dirname "$0")/tools/common.sh"
running=
trap '[ -n "$running" ] && kill -9 $running 2>/dev/null; chmod -R u+rwx "$T"; rm -rf "$T"' EXIT

same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

# Do two indexes say the same of the same pictures? Row numbers may differ; of numbers, as much as products of other batches do.
alike() {
  python3 - "$1" "$2" <<'PYTHON' || fail "the indexes $1 and $2 are not alike"
import sqlite3, struct, sys
def read(name):
    db = sqlite3.connect(f"file:{name}?mode=ro", uri=True)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("SELECT count(*) FROM features WHERE id NOT IN (SELECT id FROM pictures)").fetchall() == [(0,)]
    assert db.execute("SELECT count(*) FROM features JOIN pictures USING(id) WHERE error IS NOT NULL").fetchall() == [(0,)]
    rest = [db.execute(f"SELECT * FROM {t}").fetchall() for t in ("roots", "tasks")]
    rest += db.execute("SELECT * FROM meta WHERE key <> 'run' ORDER BY key").fetchall()
    return rest, db.execute("SELECT path, size, sha256, error, task, encoder, stale, score, base, feature FROM pictures LEFT JOIN "
                            "features USING(id) ORDER BY path").fetchall()
(rest_a, a), (rest_b, b) = read(sys.argv[1]), read(sys.argv[2])
assert rest_a == rest_b, (rest_a, rest_b)
for x, y in zip(a, b):
    assert x[:7] == y[:7], (x[:9], y[:9])
assert len(a) == len(b)
assert len(a) > 0
for x, y in zip(a, b):
    assert (x[9] is None) == (y[9] is None), x[0]
    if x[9] is None:
        continue
    u, v = list(x[7:9]), list(y[7:9])
    for r, w in ((u, x[9]), (v, y[9])):
        r += struct.unpack(f"<{len(w) // 2}e", w)
    assert len(u) == len(v) and all(abs(p - q) <= 1e-3 for p, q in zip(u, v)), (x[0], u, v)
PYTHON
}

"$PICTURES" "$T/pictures" || exit 1
cd "$T" || exit 1
sizes="--image-size 16 --patch 8 --visual-layers 2 --visual-width 64 --visual-hidden 64 --context 12 --vocabulary 600
       --text-layers 2 --text-width 64 --text-hidden 64 --embed 32"
"$M" pretrain --pairs pictures/colours/train --out clip.safetensors $sizes --epochs 4 --batch 6 --warmup 5 --threads 1 --quiet \
  >out 2>err || { fail "pretrain: $(cat err)"; exit 1; }
learn() {
  "$M" learn --model clip.safetensors --state "$1" --experts 4 --bottleneck 4 --selector-hidden 8 --selector-iterations 20 --batch 8 \
    --threads 1 --iterations 20 --no-eval --quiet "$2" >out 2>err || { fail "learn: $(cat err)"; exit 1; }
}
learn one.safetensors pictures/colours
cp one.safetensors two.safetensors
learn two.safetensors pictures/stripes

# A tree with what trees may have: odd names, links in circles, a broken picture, other files, hidden ones.
mkdir -p 'tree/a b' "tree/q'\"<&>%#?" tree/.hidden tree/deep/er
cp pictures/colours/test/red/*.png 'tree/a b/'
cp pictures/stripes/test/across/*.png tree/deep/er/
cp pictures/spots/few/0.png "tree/q'\"<&>%#?/one & two <b>.PNG"
cp pictures/spots/few/1.png "tree/$(printf 'latin-\344.png')"
cp pictures/spots/few/2.png "tree/$(printf 'new\nline.png')"
cp pictures/spots/few/3.png tree/.hidden/x.png
cp pictures/spots/few/4.png tree/.dot.png
head -c 60 pictures/spots/few/5.png >tree/broken.png
echo text >tree/notes.txt
echo text >tree/text.jpg
ln -s ../.. tree/deep/er/up
ln -s . tree/self
ln -s nothing tree/dangling.png
index() { file=$1; shift; "$M" index --index "$file" --threads 1 --quiet "$@" >out 2>err; }
reports() { grep -q "$1" out || fail "index: no \"$1\" in: $(cat out err)"; }

index i.sqlite --model clip.safetensors --state one.safetensors tree || fail "index: $(cat out err)"
reports '^17 pictures: 15 encoded .* 2 broken$'
grep -q 'broken.png: ' err || fail "the broken picture is not named: $(cat err)"
grep -q 'text.jpg: ' err || fail "the text is not named: $(cat err)"
index i.sqlite || fail "index again: $(cat err)"
reports '^17 pictures: 0 encoded, 17 unchanged, 2 broken$'
[ -s err ] && fail "what is broken was reported again: $(cat err)"
expect 0 '^15 pictures, features of 32 numbers, 2 that cannot be read$' info i.sqlite
expect 0 "^folder $(realpath "$T")/tree$" info i.sqlite
expect 0 '"pictures": 15' info i.sqlite --json
index i.sqlite --hidden && reports '^19 pictures: 2 encoded'
index i.sqlite && reports '2 removed'

# What changed: touched, moved, copied, changed, gone, repaired.
touch 'tree/a b/0.png'
mv 'tree/a b/1.png' tree/moved.png
cp 'tree/a b/2.png' tree/deep/copy.png
cp pictures/spots/many/0.png 'tree/a b/3.png'
rm 'tree/a b/4.png'
cp pictures/spots/many/1.png tree/broken.png
index i.sqlite || fail "index, changed: $(cat err)"
reports '^17 pictures: 2 encoded .* 13 unchanged, 2 known by their content under another path, 2 removed, 1 broken$'
index fresh.sqlite --model clip.safetensors --state one.safetensors tree
alike i.sqlite fresh.sqlite
rm 'tree/a b/5.png'
index i.sqlite --keep-missing && reports '0 removed\|unchanged, 1 broken$'
expect 0 'a b/5.png' search --index i.sqlite --top 100 --threads 1 red
index i.sqlite && reports '1 removed'
if [ "$(id -u)" -ne 0 ]; then
  chmod 0 tree/deep
  index i.sqlite && grep -q 'deep: .*left out' err || fail "an unreadable folder: $(cat out err)"
  chmod 755 tree/deep
  index i.sqlite && reports ' 0 encoded'
fi
mv tree elsewhere
index i.sqlite && fail "a folder that is gone empties the index"
grep -q 'tree: cannot read the folder' err || fail "a folder that is gone: $(cat err)"
mv elsewhere tree
expect 0 '^15 pictures' info i.sqlite

# search
found() { "$M" search --index i.sqlite --threads 1 "$@" >out 2>err || fail "search $*: $(cat err)"; }
found red green
[ "$(grep -c '^ *-*[0-9]\.[0-9]* ' out)" -eq 20 ] || fail "search: not twice ten: $(cat out)"
found --top 3 --json red
grep -q '^{"query":"red","hits":\[{"score":' out || fail "search --json: $(cat out)"
python3 -c 'import json,sys
hits = json.loads(sys.stdin.read())["hits"]
assert len(hits) == 3 and hits == sorted(hits, key=lambda h: -h["score"]), hits' <out || fail "search --json: $(cat out)"
found --top 100 --json red
grep -q '"path":null' out && grep -q "\"path_bytes\":\"[0-9a-f]*$(printf 'latin-' | od -An -tx1 | tr -d ' \n')e4" out ||
  fail "search --json: a name that is not UTF-8: $(cat out)"
found --top 100 --under tree/deep red
[ "$(wc -l <out)" -eq 7 ] && ! grep -vq 'tree/deep/' out || fail "search --under: $(cat out)"
found --top 100 --task colours red
grep -v ' colours ' out | grep -q png && fail "search --task: $(cat out)"
found --top 100 --image tree/moved.png
grep -q '^ 1.000. .*moved.png$\|^ 0.999. .*moved.png$' out || fail "search --image: $(cat out)"
found --top 100 --min-score 2 red
[ -s out ] && fail "search --min-score: $(cat out)"
found --top 2 --template 'a picture of {}' red
found --top 20 --open-html sheet.html 'red <b>' --image tree/moved.png
grep -q '<h2>red &lt;b&gt;</h2>' sheet.html || fail "the sheet's heading"
grep -q 'src="tree/q%27%22%3C%26%3E%25%23%3F/one%20%26%20two%20%3Cb%3E.PNG"' sheet.html || fail "the sheet's links: $(cat sheet.html)"
grep -q 'src="tree/latin-%E4.png"' sheet.html || fail "the sheet's links to names that are not UTF-8"
grep -q '<b>.PNG' sheet.html && fail "the sheet is not escaped"
mkdir sheets
found --top 1 --open-html sheets/s.html --image tree/moved.png && grep -q 'src="../tree/' sheets/s.html || fail "a sheet in another folder"
expect 2 'what is to be found' search --index i.sqlite
expect 2 'index is missing' search red
expect 1 'no such task' search --index i.sqlite --task nothing red
expect 1 'no {}' search --index i.sqlite --template x red
expect 1 'another state' search --index i.sqlite --model clip.safetensors --state two.safetensors red
expect 1 'another state' search --index i.sqlite --model clip.safetensors red
expect 1 'cannot open' search --index none.sqlite red
[ -e none.sqlite ] && fail "search made an index"
expect 1 'cannot open' index --index none.sqlite
expect 1 'cannot open' index --index none.sqlite --model none.safetensors tree
expect 1 'cannot read the folder' index --index none.sqlite --model clip.safetensors none
expect 1 'no folder was indexed yet' index --index none.sqlite --model clip.safetensors

# Another state: equal to an index that is made with it at once.
index i.sqlite --model clip.safetensors --state two.safetensors tree/deep || fail "another state: $(cat err)"
reports '^the model or the state is another than the last time: 16 pictures: '
index fresh2.sqlite --model clip.safetensors --state two.safetensors tree tree/deep
alike i.sqlite fresh2.sqlite
expect 0 'stripes' info i.sqlite

# Paths relative to the index: both move together.
mkdir -p box/in
cp -r pictures/colours/test box/in/
index box/i.sqlite --relative --model clip.safetensors box/in || fail "--relative: $(cat err)"
mv box moved
expect 0 "$(realpath moved)/in/test/red/0.png" search --index moved/i.sqlite --top 100 --threads 1 red
index moved/i.sqlite --model clip.safetensors && reports ' 0 encoded, 18 unchanged$'
expect 1 'keeps paths absolute' index --index i.sqlite --relative --model clip.safetensors tree

# Killed at any moment: the next run goes on, and the end is that of an unbroken one.
mkdir many
i=0
n=${MOECLIP_QUICK:+3}
while [ $i -lt "${n:-10}" ]; do
  cp -r pictures/colours "many/colours$i"
  cp -r pictures/stripes "many/stripes$i"
  # Other pictures than the last ones, or they would be known by their content.
  find "many/colours$i" "many/stripes$i" -name '*.png' | while read -r p; do printf '%s' "$i$p" >>"$p"; done
  i=$((i + 1))
done
printf x >many/broken.jpg
all="--model clip.safetensors --state two.safetensors --batch 4 many"
index whole.sqlite $all || fail "many: $(cat err)"
# Kills come at any time of the run, however fast the machine is: so long does a run take that starts from nothing.
began=$(date +%s%N)
"$M" index --index timed.sqlite --threads 1 --quiet $all >out 2>err || fail "many: $(cat err)"
took=$(($(date +%s%N) - began))
kills=0
unfinished=0
while [ $kills -lt 24 ]; do
  "$M" index --index killed.sqlite --threads 1 --quiet $all >out 2>err &
  running=$!
  sleep "$(awk -v s=$kills -v t="$took" 'BEGIN { srand(s); print t / 1e9 * rand() }')"
  kill -9 $running 2>/dev/null
  wait $running 2>/dev/null
  is=$?
  running=
  kills=$((kills + 1))
  # One that came to its end leaves nothing to kill in the next: that one starts from nothing again.
  if [ $is -eq 137 ]; then unfinished=$((unfinished + 1)); elif [ $kills -lt 20 ]; then rm -f killed.sqlite; fi
  # Each fourth time, the file is damaged by nothing: it can be opened at once.
  [ $((kills % 4)) -ne 0 ] || [ ! -s killed.sqlite ] || "$M" info killed.sqlite >out 2>err || fail "killed, info: $(cat err)"
  # Now and then something changes in between.
  [ $kills -ne 8 ] || mv many/colours0 many/renamed
  [ $kills -ne 16 ] || mv many/renamed many/colours0
done
[ $unfinished -ge 10 ] || fail "only $unfinished of 24 runs were killed before their end"
index killed.sqlite $all || fail "killed: $(cat err)"
alike whole.sqlite killed.sqlite
ls | grep -q 'sqlite-' && fail "left behind: $(ls)"

# A signal: what was done stays, and a sentence.
"$M" index --index stopped.sqlite --threads 1 --quiet --batch 1 --model clip.safetensors --state two.safetensors many >out 2>err &
running=$!
i=0
while [ ! -s stopped.sqlite ] && [ $i -lt 600 ]; do sleep 0.02; i=$((i + 1)); done
kill -INT $running
wait $running
is=$?
running=
[ $is -eq 130 ] || [ $is -eq 0 ] || fail "SIGINT: exit code $is: $(cat err)"
[ $is -ne 130 ] || grep -q 'stopped' err || fail "SIGINT: $(cat err)"

# Two at once: one of them ends well, and searching goes on meanwhile.
"$M" index --index both.sqlite --threads 1 --quiet $all >out1 2>err1 &
one=$!
"$M" index --index both.sqlite --threads 1 --quiet $all >out2 2>err2 &
two=$!
wait $one
a=$?
wait $two
b=$?
[ $a -eq 0 ] || grep -q 'another process' err1 || fail "two at once: $(cat err1)"
[ $b -eq 0 ] || grep -q 'another process' err2 || fail "two at once: $(cat err2)"
[ $a -eq 0 ] || [ $b -eq 0 ] || fail "two at once: both failed: $(cat err1 err2)"
index both.sqlite $all
alike whole.sqlite both.sqlite
python3 - <<'PYTHON' &
import sqlite3, time
db = sqlite3.connect("both.sqlite")
db.execute("BEGIN EXCLUSIVE")
open("locked", "w").close()
time.sleep(2)
PYTHON
holder=$!
i=0
while [ ! -e locked ] && [ $i -lt 600 ]; do sleep 0.02; i=$((i + 1)); done
expect 0 'png' search --index both.sqlite --threads 1 red
wait $holder

# Files that are no index are told so, and stay as they are.
refuse() { # PATTERN FILE
  cp "$2" before
  expect 1 "$1" search --index "$2" --model clip.safetensors red
  expect 1 "$1" index --index "$2" --model clip.safetensors tree
  same before "$2"
}
echo 'some text that is longer than a header of SQLite' >text.sqlite
refuse 'not an index of moeclip' text.sqlite
cp pictures/spots/few/0.png picture.sqlite
refuse 'not an index of moeclip' picture.sqlite
sql() { python3 -c 'import sqlite3,sys
db = sqlite3.connect(sys.argv[1]); db.executescript(sys.argv[2]); db.commit()' "$1" "$2"; }
sql strange.sqlite 'CREATE TABLE t(x)'
refuse 'no index of moeclip' strange.sqlite
# An index of version 1, without checksums: what other programs write into it is not noticed by them.
python3 - <<'PYTHON'
import sqlite3
old = sqlite3.connect("plain.sqlite")
old.executescript("\n".join(sqlite3.connect("whole.sqlite").iterdump()))
old.executescript("PRAGMA application_id = 0x6d6f6563; PRAGMA user_version = 1")
PYTHON
alike whole.sqlite plain.sqlite
index plain.sqlite $all
alike whole.sqlite plain.sqlite
expect 0 '"checksums": true' info --json whole.sqlite
expect 0 '"checksums": false' info --json plain.sqlite
expect 0 'no checksums' info plain.sqlite
cp plain.sqlite newer.sqlite
sql newer.sqlite 'PRAGMA user_version = 3'
refuse 'version 3, made by a newer moeclip' newer.sqlite
cp plain.sqlite strange.sqlite
sql strange.sqlite 'PRAGMA user_version = 2'
refuse 'damaged index: its version' strange.sqlite
cp plain.sqlite trigger.sqlite
sql trigger.sqlite "CREATE TRIGGER t AFTER INSERT ON pictures BEGIN DELETE FROM features; END"
refuse 'damaged index: its tables' trigger.sqlite
search_fails() { # PATTERN SQL
  cp plain.sqlite bad.sqlite
  sql bad.sqlite "$2"
  expect 1 "$1" search --index bad.sqlite --threads 1 red
}
search_fails "damaged index: a feature's length" "UPDATE features SET feature = zeroblob(1) WHERE id = 3"
search_fails "damaged index: a feature's numbers" "UPDATE features SET feature = CAST(replace(hex(zeroblob(32)), '0', '~') AS BLOB) WHERE id = 3"
search_fails "damaged index: a picture of an unknown task" "UPDATE features SET task = 99 WHERE id = 3"
search_fails "damaged index: a path" "UPDATE pictures SET path = 'relative/' || id"
search_fails "damaged index: the length of its features" "UPDATE meta SET value = CAST('99999999' AS BLOB) WHERE key = 'embed'"
search_fails "damaged index: .*room" "UPDATE meta SET value = CAST('60000' AS BLOB) WHERE key = 'embed'"
head -c 6000 whole.sqlite >cut.sqlite
expect 1 'damaged' search --index cut.sqlite --threads 1 red
# With checksums: another program that writes into it, and one bit of a path, a feature, a task's name.
cp whole.sqlite bad.sqlite
sql bad.sqlite "UPDATE features SET score = score + 1e-9"
refuse 'damaged index: a checksum does not fit; delete it and index the folders again' bad.sqlite
python3 - <<'PYTHON' || fail "nothing to flip"
import sqlite3
data = open("whole.sqlite", "rb").read()
db = sqlite3.connect("whole.sqlite")
for name, sql in (("path", "SELECT path FROM pictures"), ("feature", "SELECT feature FROM features"), ("task", "SELECT CAST(name AS BLOB) FROM tasks")):
    (what,) = db.execute(sql).fetchone()
    assert what in data
    open(f"{name}.sqlite", "wb").write(data.replace(what, bytes([what[0] ^ 1]) + what[1:]))  # a path is in SQLite's own index too
PYTHON
for what in path feature task; do
  expect 1 "$what.sqlite: damaged index: a checksum does not fit" search --index $what.sqlite --threads 1 --top 1000 red
done
# Its creation was broken off: SQLite takes all of it back, by a journal that says that there was nothing before.
cp whole.sqlite begun.sqlite
python3 -c 'import struct, sys
sys.stdout.buffer.write(bytes.fromhex("d9d505f920a163d7") + struct.pack(">5I", 0, 1, 0, 512, 4096) + bytes(484))' >begun.sqlite-journal
expect 1 'is empty' search --index begun.sqlite --threads 1 red
index begun.sqlite $all
alike whole.sqlite begun.sqlite
: >empty.sqlite
expect 1 'is empty' search --index empty.sqlite red
expect 1 'not a regular file' search --index tree red
exit $failed
