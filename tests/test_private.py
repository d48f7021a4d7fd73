"""Keys and addresses are found and masked; what is nobody's is left alone.

Every key here is put together by the test, so that no scanner takes this file for a leak.
"""

import random
import string
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sllm_core.corpus import private
from sllm_core.corpus.private import Masker, count, find, mask

SOURCE = random.Random(4)


def letters(n, alphabet=string.ascii_letters + string.digits):
    """Random, but with digits from the start, as such keys have."""
    return "7" + "".join(SOURCE.choices(alphabet, k=n - 2)) + "3"


UPPER = string.ascii_uppercase + "234567"
KEYS = {
    "aws": "AK" + "IA" + "".join(SOURCE.choices(UPPER, k=15)) + "5",
    "aws-session": "AS" + "IA" + "".join(SOURCE.choices(UPPER, k=15)) + "2",
    "github": "gh" + "p_" + letters(36),
    "github-oauth": "gh" + "o_" + letters(36),
    "github-fine": "github" + "_pat_" + letters(22) + "_" + letters(59),
    "gitlab": "gl" + "pat-" + letters(20),
    "slack": "xo" + "xb-" + "123456789012-" + letters(24),
    "openai": "s" + "k-" + letters(48),
    "openai-project": "s" + "k-proj-" + letters(60),
    "stripe": "s" + "k_live_" + letters(24),
    "google": "AI" + "za" + letters(35),
    "hugging-face": "h" + "f_" + letters(34),
    "jwt": "ey" + "J" + letters(20) + ".ey" + "J" + letters(60) + "." + letters(43),
}
BODY = "\n".join(letters(64) for _ in range(12))
BEGIN, END = "-----BEGIN RSA PRIVATE" + " KEY-----", "-----END RSA PRIVATE" + " KEY-----"
PEM = f"{BEGIN}\n{BODY}\n{END}"


def kinds(text):
    return [finding.kind for finding in find(text)]


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("form", ['x = "{}"\n', "{}", "token: {}, next\n", "a\n# {}\nb\n", "({})"])
def test_keys_of_services_are_found_and_masked(key, form):
    text = form.format(key)
    assert kinds(text) == ["secret"]
    masked, n = mask(text)
    assert (masked, n) == (form.format("<secret>"), 1)


@pytest.mark.parametrize(
    "line",
    [
        'api_key = "{}"', "API_KEY={}", "  secret: '{}'", '"auth_token": "{}",',
        'passwd := "{}"', 'client_secret => "{}"', 'os.environ["DB_PASSWORD"] = "{}"',
    ],
)  # fmt: skip
def test_a_random_value_under_a_telling_name_is_a_secret(line):
    for value in (letters(24), letters(40), letters(40, "0123456789abcdef"), letters(30) + "=="):
        assert mask(line.format(value)) == (line.format("<secret>"), 1)


@pytest.mark.parametrize(
    "line",
    [
        'api_key = "your-api-key-goes-here-1"', "secret = os.environ['MY_SECRET_NAME_2024']",
        "token = tokenize.generate_tokens2(readline)", 'password = "correct horse battery"',
        "key = sorted(items_by_position_1)", "API_KEY=xxxxxxxxxxxxxxxx0000", 'token = ""',
        "sha256 = 9f86d081884c7d659a2feaa0c55ad015", "https://github.com/a/b/commit/9f86d081884c7d65",
        "postgres://user:password@localhost/db", "http://${USER}:${TOKEN}@host.example/", "a://b:c@d",
        "from cryptography import x  # " + BEGIN, f'if line == "{BEGIN}":\n    start = True\n',
        "sk-learn-pipeline-with-many-words", "task-with-a-long-kebab-case-name-2", "AKIAIOSFODNN7",
    ],
)  # fmt: skip
def test_names_and_placeholders_are_no_secrets(line):
    assert "secret" not in kinds(line)


def test_the_password_of_a_url_is_masked_and_the_rest_stays():
    text = "url = 'https://bob:hunter2x@db.internal.net:5432/x'\n"
    assert mask(text) == ("url = 'https://bob:<secret>@db.internal.net:5432/x'\n", 1)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to ann.smith+news@mail.uni-ulm.de, please", "write to <email>, please"),
        ("<bob@site.org> and (carol@a.b.co.uk)", "<<email>> and (<email>)"),
        ("a_b@c.io", "<email>"),
        ("me@example.com you@sub.example.org x@host.invalid", None),  # RFC 2606: nobody's
        ("git@github.com:owner/name.git", None),
        ("icon@2x.png and getty@tty1.service", None),
        ("@decorator.method\nx = a@b\nname@ domain.com", None),
        ("call +49 731 1234567 now", "call <phone> now"),
        ("+1 (415) 867-5309, (415) 867-5309 or 415-867-5309.", "<phone>, <phone> or <phone>."),
        ("+14158675309", "<phone>"),
        ("x = a+1 2 3; 2024-01-02; 1-800; 555-1234; +5 +6 +7", None),
        ("ISBN 978-3-16-148410-0, 123-456-78901", None),
        ("host 93.184.216.34 and 2.4.16.200:80", "host <ip> and <ip>:80"),
        ("127.0.0.1 10.1.2.3 192.168.0.7 0.0.0.0 255.255.255.0 192.0.2.44 1.2.3.4", None),
        ("v93.184.216.34, 1.93.184.216.34, 93.184.216.340, >=10.20.30.40", None),
    ],
)
def test_addresses_and_numbers_of_people(text, masked):
    assert mask(text)[0] == (masked or text)


@pytest.mark.parametrize(
    "block",
    [
        PEM,
        PEM.replace("RSA ", ""),
        f"{BEGIN}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0011\n\n{BODY}\n{END}",
        "\n".join(f"    {line}" for line in PEM.split("\n")).strip(),
        PEM.replace("\n", "\\n"),
        "\n".join(f'"{line}\\n"' for line in PEM.split("\n")).strip('"').removesuffix("\\n"),
    ],
    ids=["plain", "pkcs8", "encrypted", "indented", "escaped", "literals"],
)
def test_private_keys_of_many_lines_are_one_secret(block):
    assert mask(f"before\nkey = '{block}'\nafter\n") == ("before\nkey = '<secret>'\nafter\n", 1)


def test_a_private_key_without_an_end_is_masked_as_far_as_it_looks_like_one():
    masked, n = mask(f"{BEGIN}\n{BODY}\n\nThen the text goes on, with words.\n")
    assert n == 1 and BODY[:20] not in masked and masked.endswith("goes on, with words.\n")


def test_a_finding_tells_kind_line_and_mark_and_nothing_else():
    key = KEYS["github"]
    found = find(f"a\n\nx@uni-ulm.de\nb = '{key}'\nc = '{key}'\n", salt=b"one")
    assert [(f.kind, f.line) for f in found] == [("email", 3), ("secret", 4), ("secret", 5)]
    assert found[1].mark == found[2].mark != found[0].mark and len(found[1].mark) == 12
    assert key not in repr(found)
    other = find(f"'{key}'", salt=b"two")[0]
    assert other.mark != found[1].mark
    assert count(found) == {"emails": 1, "secrets": 2}


def test_only_the_wanted_kinds_are_masked():
    text = f"x@uni-ulm.de 93.184.216.34 {KEYS['aws']}"
    assert mask(text, ["email"])[0] == text.replace("x@uni-ulm.de", "<email>")
    assert mask(text, []) == (text, 0)


LINES = st.lists(
    st.sampled_from(
        [BEGIN, END, *BODY.split("\n")[:3], "", "word", "x@uni-ulm.de", KEYS["aws"] + " end",
         f"{END} {BEGIN}", f"{BEGIN} {BEGIN}", f"{BEGIN}{letters(40)}{END}", "Proc-Type: 4,X",
         "93.184.216.34 +49 731 1234567", "é ü 漢字"]
    ),
    max_size=14,
)  # fmt: skip


@given(LINES, st.lists(st.integers(0, 14), max_size=6), st.booleans())
@settings(max_examples=400)
def test_masking_in_pieces_of_whole_lines_is_masking_the_whole(lines, cuts, ends):
    text = "\n".join(lines) + ("\n" if ends else "")
    whole = text.split("\n")
    places = sorted({min(cut, len(whole) - 1) for cut in cuts})
    pieces, at = [], 0
    for place in places:
        pieces.append("".join(f"{line}\n" for line in whole[at:place]))
        at = place
    pieces.append("\n".join(whole[at:]))
    assert "".join(pieces) == text
    masker = Masker()
    got = "".join([*map(masker.feed, pieces), masker.finish()])
    assert (got, masker.count) == mask(text)


@given(st.text(alphabet=st.sampled_from("@.:/-+=_ \n0189azAZ\"'é\ud800"), max_size=300))
def test_nothing_is_changed_but_what_is_found(text):
    masked, n = mask(text)
    assert (n == 0) == (masked == text)
    assert n == len(find(text))
    assert mask(masked)[1] == 0 or n > 0


@pytest.mark.parametrize(
    "unit",
    ["@", "a@a.", "://a:", BEGIN, BEGIN + "\n", "eyJ", "eyJeyJ.", "+1 ", "1.", "(2", "sk-", "a" * 50,
     "key=", "-----BEGIN ", "\n", "\u0301", "A" * 32 + "\n", "0" * 20 + " ", "a@b.c@d.e", "key: 'a1",
     f"{BEGIN}\n" + "////\n" * 3],
)  # fmt: skip
def test_hostile_repetition_ends_soon(unit):
    text = unit * (400_000 // len(unit))
    mask(text)  # the guard against hanging is the time limit of the test


def test_the_standard_library_has_next_to_no_secrets():
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = [*folder.glob("*.py"), *folder.glob("email/*.py"), *folder.glob("json/*.py")]
    found = {
        path.name: secrets
        for path in paths
        if (secrets := find(path.read_text(encoding="utf-8"), [private.SECRET]))
    }
    assert len(paths) > 100 and found == {}
