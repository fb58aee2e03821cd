"""Names, captions and classes of the pre-training pictures."""
import re

# Broad categories: the phrases that say that a picture belongs to one.
CATEGORIES = {
    "animals": ["an animal", "animals"],
    "food": ["food", "something to eat", "food or drink"],
    "plants": ["a plant", "plants"],
    "vehicles": ["a vehicle", "vehicles", "transport"],
    "people": ["a person", "people"],
    "buildings": ["a building", "buildings"],
    "flags": ["a flag", "flags"],
    "music": ["music", "a musical instrument"],
    "faces": ["a face", "a smiley face", "faces"],
    "sports": ["sports", "a sport"],
    "signs": ["a sign", "a symbol", "signs and symbols"],
    "tools": ["a tool", "tools", "a thing of the household"],
    "clothes": ["clothes", "clothing"],
    "electronics": ["electronics", "an electronic device"],
    "toys": ["a toy", "a game"],
    "letters": ["a character", "writing"],
    "landscapes": ["a landscape", "a place"],
    "weather": ["weather", "the sky"],
    "body": ["a part of the body", "a hand gesture or a part of the body"],
    "icons": ["an icon", "a computer icon"],
    "shapes": ["a shape", "a geometric shape"],
}
# The categories with a held-out test set.
TEST_CATEGORIES = ["animals", "food", "plants", "vehicles", "people", "buildings", "flags", "music", "faces", "sports",
                   "signs", "tools"]

# Object classes of the zero-shot test: words of which a picture's name has one, words it must not have, and the broad
# categories that such a picture can be filed under (none named: any).
CLASSES = {
    "cat": ("cat cats kitten housecat", "lion tiger leopard cheetah big wild bobcat", "animals faces"),
    "dog": ("dog dogs puppy poodle pug dalmatian beagle terrier", "hot sled no forbidden", "animals"),
    "horse": ("horse horses pony stallion", "sea racing carousel rocking chess seahorse donkey zebra", "animals"),
    "cow": ("cow cows bull ox", "dozer", "animals"),
    "pig": ("pig piglet boar hog", "guinea nose", "animals"),
    "rabbit": ("rabbit bunny hare", "ears", "animals faces"),
    "elephant": ("elephant mammoth", "", "animals"),
    "bird": ("bird birds parrot owl eagle duck penguin swan flamingo pigeon dove sparrow toucan rooster chicken turkey"
             " peacock goose crow hawk pelican cockatoo rosella robin parakeet heron",
             "house roast bath cage", "animals"),
    "fish": ("fish fishes goldfish trout shark angelfish clownfish carp blowfish tuna salmon piranha",
             "hook jelly star cake fork boat dolphin whale mammal bluewhale", "animals"),
    "butterfly": ("butterfly butterflies moth", "", "animals"),
    "spider": ("spider tarantula", "man web monkey playing dancing", "animals"),
    "snake": ("snake cobra python viper rattlesnake", "ladder rex dinosaur", "animals"),
    "turtle": ("turtle tortoise", "", "animals"),
    "frog": ("frog toad", "stool", "animals"),
    "dinosaur": ("dinosaur sauropod rex triceratops stegosaurus tyrannosaurus apatosaurus pterodactyl", "", "animals"),
    "apple": ("apple apples", "pie ipod pine candy toffee caramel blackboard chalkboard", "food"),
    "bread": ("bread baguette loaf croissant bagel toast", "box wine", "food"),
    "cake": ("cake cupcake cakes gateau", "fish moon rice mix", "food"),
    "pizza": ("pizza", "", "food"),
    "flower": ("flower flowers rose tulip daisy blossom sunflower hibiscus orchid daffodil lily",
               "card pot border hat flowerandpot cactus", "plants"),
    "tree": ("tree trees palm oak fir pine", "hand hands up decision leaf tanabata decoration cone", "plants"),
    "mushroom": ("mushroom mushrooms toadstool", "cloud", "food plants"),
    "car": ("car automobile taxi cars sedan roadster",
            "railway cable tram cart battery sleeper track parking dining light cow", "vehicles"),
    "bus": ("bus minibus trolleybus", "stop usb", "vehicles"),
    "train": ("train locomotive tram monorail", "station", "vehicles"),
    "airplane": ("airplane plane aeroplane jet biplane 747", "ski paper boat", "vehicles"),
    "boat": ("boat ship sailboat yacht canoe ferry speedboat",
             "house rocket space knot wind diagram sailing harbour lighthouse labels", "vehicles"),
    "bicycle": ("bicycle bike tricycle", "person man woman motor motorbike", "vehicles"),
    "house": ("house houses cottage home hut igloo",
              "page button folder greenhouse bird dog table lighthouse", "buildings"),
    "guitar": ("guitar guitars", "", ""),
    "drum": ("drum drums bongo", "", "music"),
    "book": ("book books notebook", "mark face address bag store newspaper", ""),
    "chair": ("chair armchair stool", "wheel wheelchair lift", ""),
    "clock": ("clock watch stopwatch",
              "o'clock clockwise thirty anticlockwise tower watch-tower frog cd player bicycles", ""),
    "key": ("key keys", "board keyboard musical character button piano music lime caps", "tools"),
    "umbrella": ("umbrella umbrellas parasol", "acorn", ""),
    "hammer": ("hammer mallet", "sickle wrench pick", "tools"),
    "scissors": ("scissors scissor", "", "tools"),
    "telephone": ("telephone phone cellphone", "off no booth selfie", "electronics tools"),
    "light bulb": ("bulb lightbulb", "christmas garlic flower tulip", "electronics"),
    "star": ("star stars",
             "fish david struck face trek wars crescent starfish night dotted six shooting", "signs shapes"),
    "heart": ("heart hearts", "eyes eye hands couple cat envelope person man woman kiss ace card suit decoration",
              "signs"),
    "crown": ("crown tiara", "person", "clothes tools"),
    "skull": ("skull", "", ""),
}

# Held-out pictures that turned out, looked at one by one, not to show what their class says: in no test.
MISFILED = {"apple juice box", "apple juice box bw", "candied apples ganson", "anchor", "minute hand", "bus opposite",
            "cat scrathing post", "shelby cobra car bluepr", "sim", "houses"}

TESTED_STYLES = {"emoji", "clipart", "stamp", "cartoon", "flag"}

STYLE = {
    "emoji": ["an emoji of {}", "an icon of {}", "a cartoon of {}"],
    "clipart": ["clip art of {}", "a drawing of {}", "an illustration of {}"],
    "stamp": ["an image of {}", "a photo of {}", "a picture of {} on a plain background"],
    "drawing": ["a drawing of {}", "an illustration of {}", "a cartoon of {}"],
    "cartoon": ["a cartoon of {}", "a drawing of {}", "an illustration of {}"],
    "flag": ["an image of {}"],
    "glyph": ["a silhouette of {}", "an icon of {}", "a symbol of {}"],
    "icon": ["an icon of {}", "a computer icon of {}"],
    "photo": ["a photo of {}", "a photograph of {}"],
}

DULL = set("""
hash unsorted clip_art clipart clip art contour outlined outline colour color colored coloured cartoon image
images openclipart open domain public svg and the of for with a an in on simple icon icons theme lemon flat
etiquette other misc various inkscape drawing black white bw externalsource externallinks line remix
""".split())

MASS = set("bread food water fire rain snow ice wine beer music cheese rice lightning milk honey grass money juice "
           "clothing transport furniture corn garlic broccoli coffee tea seaweed fog wind hair wood tofu sushi "
           "thunder mathematics golf tennis rugby football basketball salt butter".split())


def tidy(text):
    """A name in lower-case words."""
    text = text.replace("_", " ").replace("’", "'").replace("“", "").replace("”", "")
    text = re.sub(r"[^\w'&+:,.!?()%#*/-]+", " ", text)
    return re.sub(r"\s+", " ", text).strip(" .-_,")


def with_article(name):
    """The name with "a" or "an" where English wants one, so far as a simple rule tells."""
    first = name.split(" ", 1)[0].lower()
    last = name.split(" ")[-1].lower()
    if first in ("a", "an", "the", "two", "three", "some", "no", "this", "many") or first.endswith("'s"):
        return name
    head = re.split(r" (?:with|in|of|on|at|from|without|holding|and)\b|[:,(]", name, maxsplit=1)[0]
    head = head.split(" ")[-1].lower()
    if last in MASS or head in MASS or (head.endswith("s") and not head.endswith(("ss", "us", "is"))):
        return name
    if not first[:1].isalpha() or first.endswith("ing"):
        return name
    vowel = first[0] in "aeiou" and not first.startswith(("uni", "eu", "one", "use"))
    return ("an " if vowel else "a ") + name


def captions(style, name, keywords, category):
    """Up to nine captions of one picture, the first the plain name."""
    phrase = with_article(name)
    found = [name, f"a picture of {phrase}"]
    found += [form.format(phrase) for form in STYLE[style][:2]]
    keywords = [word for word in keywords if word != name][:4]
    if keywords:
        found.append(with_article(keywords[0]))
        found.append(f"a picture of {with_article(keywords[-1])}")
        if len(keywords) > 1:
            found.append(", ".join([name] + keywords[:3]))
    if category:
        phrases = CATEGORIES[category]
        found += [f"a picture of {phrases[0]}", phrases[-1], f"{name}, {phrases[0]}"]
    seen = []
    for text in found:
        text = text[:160]
        if text and text not in seen:
            seen.append(text)
    return seen


def words_of(text):
    return set(re.findall(r"[a-z0-9']+", text.lower()))


_CLASS_WORDS = {name: tuple(set(part.split()) for part in parts) for name, parts in CLASSES.items()}


def class_of(name, category):
    """The object class that a name tells of, or None where it tells of none or of several."""
    words = words_of(name.replace(" and ", " with ").split(" with ")[0])
    if len(words) > 6:
        return None
    found = [label for label, (yes, no, kinds) in _CLASS_WORDS.items()
             if words & yes and not words_of(name) & no and (not kinds or category in kinds)]
    return found[0] if len(found) == 1 else None
