"""What mkdocs needs to build docs/ as it stands in the repository."""

import re


def on_page_markdown(markdown, page, config, files):
    """Links to files outside of docs/ work in the repository; in the site their text and place stand for them."""
    return (
        re.sub(r"(?<!!)\[([^\]]*)\]\(((?:\.\./)+(?!tutorials/)[^)#]*)\)", _named, markdown)
        if _leaves(page)
        else markdown
    )


def _leaves(page):
    return page.file.src_uri.count("/") in (0, 1)


def _named(match):
    text, target = match[1], match[2]
    depth_one = re.fullmatch(r"\.\./([^/]+\.md)", target)
    if depth_one and not re.match(r"(README|CHANGELOG|CONTRIBUTING)", depth_one[1]):
        return match[0]  # from a tutorial to a page of docs/
    place = re.sub(r"^(\.\./)+", "", target)
    return text if place.split("/")[-1] in text else f"{text} (`{place}`)"
