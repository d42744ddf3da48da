"""Captions of Open Clip Art's drawings: out of their file names, titles, descriptions and keywords."""

import re
import xml.etree.ElementTree
from typing import NamedTuple

# Written by a program into every drawing of a folder, or by a tool in the keywords' place: they say nothing.
EMPTY_KEYWORDS = {"hash", "icons", "icon", "theme", "lemon_theme_icon", "unsorted", "clipart", "image", "svg"}
MOST_KEYWORDS = 8
# A title or description that more drawings have is that of their collection.
MOST_SHARING = 3
MOST_CHARACTERS = 200
CHUNK = 1 << 14

WORK = "{http://web.resource.org/cc/}Work"
FREE_LICENCES = ("", "http://web.resource.org/cc/PublicDomain", "http://creativecommons.org/licenses/publicdomain/")


class Metadata(NamedTuple):
    title: str
    description: str
    keywords: tuple
    author: str
    licence: str   # an address; empty where the drawing names none and the package's own holds


def local_name(element):
    return element.tag.rpartition("}")[2]


def one_line(text):
    return " ".join((text or "").split())


def read_metadata(svg):
    """What a drawing's RDF says, read no further than that; None if there is none or it is no XML."""
    parser = xml.etree.ElementTree.XMLPullParser(("end",))
    try:
        for begin in range(0, len(svg), CHUNK):
            parser.feed(svg[begin:begin + CHUNK])
            for _, element in parser.read_events():
                if element.tag == WORK:
                    return metadata_of(element)
    except xml.etree.ElementTree.ParseError:
        pass
    return None


def metadata_of(work):
    fields = {local_name(child): child for child in work}

    def texts(name, inner):
        """What stands in the elements `inner` of the field `name`, or of the field itself."""
        elements = fields[name].iter() if name in fields else ()
        return [one_line(each.text) for each in elements if local_name(each) == inner and one_line(each.text)]

    def first(found):
        return found[0] if found else ""

    attributes = fields["license"].attrib if "license" in fields else {}
    return Metadata(title=first(texts("title", "title")), description=first(texts("description", "description")),
                    keywords=tuple(texts("subject", "li")), author=first(texts("creator", "title")),
                    licence=first([value for key, value in attributes.items() if key.endswith("resource")]))


def name_of(stem, author):
    """The words of a file name, without numbers and the author's name at its end: "elephant_outline_matthe_r"."""
    words = [word for word in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z])", stem) if word]
    authors = [word.casefold() for word in re.split(r"[\W_]+", author) if word]
    while words:
        last = re.sub(r"\d+$", "", words[-1]).casefold()
        # File names were cut to a length, so an author's name is often its beginning alone.
        if last and not (len(words) > 1 and any(word.startswith(last) for word in authors)):
            words[-1] = words[-1][:len(last)]
            break
        words.pop()
    return " ".join(words).lower()


def clean_title(title, author):
    """Without a number at the end and underscores; empty if it says that it is clip art, or no more than who drew it.

    "Clipart by NAME - piggybank" is empty too: such titles went from one drawing to the next by mistake.
    """
    title = one_line(re.sub(r"[_\s]*\d+$", "", title.replace("_", " ")))
    is_empty = re.match(r"(various )?clip ?arts?\b", title, re.IGNORECASE) or title.casefold() == author.casefold()
    return "" if is_empty else title


def captions_of(name, metadata, num_with_title, num_with_description):
    """The captions, the shortest kind first and no two the same but for case; empty where nothing says what is drawn.

    num_with_title, num_with_description   how many drawings have the very title and description
    """
    captions = [name] if re.search(r"[^\W\d_]{2}", name) else []
    title = clean_title(metadata.title, metadata.author)
    if num_with_title <= MOST_SHARING and re.search(r"[^\W\d_]{2}", title):
        captions.append(title)
    keywords = list(dict.fromkeys(word.casefold() for word in metadata.keywords
                                  if len(word) <= 30 and word.casefold() not in EMPTY_KEYWORDS))[:MOST_KEYWORDS]
    if captions and keywords:
        captions.append(f"{captions[0]}: {', '.join(keywords)}")
    description = metadata.description
    if num_with_description <= MOST_SHARING and " " in description and "@" not in description:
        captions.append(description)
    distinct = {}
    for caption in captions:
        if len(caption) <= MOST_CHARACTERS:
            distinct.setdefault(caption.casefold(), caption)
    return list(distinct.values())
