"""Settings: which source wins, what each says of itself, and what a wrong value is told."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import platformdirs
import pytest

from pip_sharedcache import config
from pip_sharedcache.config import LayerSetting, Setting, load, option_variable
from pip_sharedcache.errors import SettingError
from pip_sharedcache.model import LinkMode, Policy
from support.probes import needs, root
from support.process import as_user


def _file(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the site's store would be; the machine's own is never looked at."""
    path = tmp_path / "site"
    monkeypatch.setattr(platformdirs, "site_cache_dir", lambda *_, **__: str(path))
    return path


def test_with_nothing_set_it_is_the_users_own_store(site: Path) -> None:
    settings = load([], {})
    assert settings.dir == Path(platformdirs.user_cache_dir("pip-sharedcache", appauthor=False))
    assert settings.dir_source == "default: the private store"
    assert settings.private
    assert settings.link_mode is LinkMode.REFLINK
    assert settings.share == ()
    assert settings.group_environment
    assert settings.resolutions
    assert settings.notes == ()


def test_a_store_of_the_site_is_preferred_to_an_own_one(site: Path) -> None:
    site.mkdir()
    assert load([], {}).dir != site, "a directory that nobody made a store of"
    (site / "store.json").touch()
    settings = load([], {})
    assert settings.dir == site
    assert settings.dir_source == "default: the site's store"
    assert not settings.private


@needs(root)
def test_a_site_store_that_cannot_be_read_is_passed_over(
    shared_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = shared_tmp / "site"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(platformdirs, "site_cache_dir", lambda *_, **__: str(closed))
    with as_user(54321):
        settings = load([], {})
    assert settings.dir != closed
    assert settings.dir_source.startswith("default: the private store")
    # From Python 3.14 on, is_file() says False where it is not allowed to look.
    assert str(closed) in settings.dir_source or settings.dir_source == "default: the private store"


def test_later_files_win_over_earlier_ones(tmp_path: Path) -> None:
    first = _file(tmp_path, "global", "[sharedcache]\ndir = /first\nlink-mode = copy\n")
    second = _file(tmp_path, "user", "[sharedcache]\ndir = /second\n")
    settings = load([first, second], {})
    assert settings.dir == Path("/second")
    assert settings.dir_source == str(second)
    assert settings.link_mode is LinkMode.COPY, "what the later one does not name stays"
    assert load([second, first], {}).dir == Path("/first")


def test_the_environment_wins_over_files_and_the_option_over_both(tmp_path: Path) -> None:
    file = _file(tmp_path, "pip.conf", "[sharedcache]\ndir = /file\n")
    environ = {"PIP_SHAREDCACHE_DIR": "/environment"}
    settings = load([file], environ)
    assert (settings.dir, settings.dir_source) == (
        Path("/environment"),
        "environment variable PIP_SHAREDCACHE_DIR",
    )
    environ = {option_variable("dir"): "/option", **environ}
    settings = load([file], environ)
    assert (settings.dir, settings.dir_source) == (Path("/option"), "option --sharedcache-dir")
    assert not settings.private


def test_isolated_means_no_environment_but_options(tmp_path: Path, site: Path) -> None:
    environ = {"PIP_SHAREDCACHE_DIR": "/environment", "PIP_SHAREDCACHE_LINK_MODE": "wrong"}
    settings = load([], environ, isolated=True)
    assert settings.private
    environ[option_variable("dir")] = "/option"
    assert load([], environ, isolated=True).dir == Path("/option")


@pytest.mark.parametrize("key", ["link-mode", "link_mode", "LINK-MODE"])
def test_keys_of_files_are_read_as_pip_reads_them(key: str, tmp_path: Path) -> None:
    file = _file(tmp_path, "pip.conf", f"[sharedcache]\n{key} = hardlink\n")
    assert load([file], {}).link_mode is LinkMode.HARDLINK


@pytest.mark.parametrize("variable", ["PIP_SHAREDCACHE_LINK_MODE", option_variable("link-mode")])
def test_names_of_two_words_are_found_in_the_environment(variable: str) -> None:
    assert load([], {variable: " Symlink "}).link_mode is LinkMode.SYMLINK


@pytest.mark.parametrize("mode", list(LinkMode), ids=lambda mode: mode.value)
def test_every_link_mode_can_be_asked_for(mode: LinkMode) -> None:
    assert load([], {"PIP_SHAREDCACHE_LINK_MODE": mode.value.upper()}).link_mode is mode


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, True) for text in ("yes", "Y", "true", "1", "ON")),
        *((text, False) for text in ("no", "n", "False", "0", "off")),
    ],
)
def test_group_environment_takes_pips_yes_and_no(text: str, expected: bool) -> None:
    settings = load([], {"PIP_SHAREDCACHE_GROUP_ENVIRONMENT": text})
    assert settings.group_environment is expected


@pytest.mark.parametrize(("text", "expected"), [("on", True), ("YES", True), ("Off", False)])
def test_resolutions_in_each_source_is_read(tmp_path: Path, text: str, expected: bool) -> None:
    file = _file(tmp_path, "pip.conf", f"[sharedcache]\nresolutions = {text}\n")
    assert load([file], {}).resolutions is expected
    assert load([], {"PIP_SHAREDCACHE_RESOLUTIONS": text}).resolutions is expected
    assert load([], {option_variable("resolutions"): text}).resolutions is expected
    assert load([file], {"PIP_SHAREDCACHE_RESOLUTIONS": "no"}).resolutions is False


def test_processes_without_a_setting_follow_the_machine(site: Path) -> None:
    assert load([], {}).processes == 0


def test_share_is_a_list_on_one_line_or_several(tmp_path: Path) -> None:
    file = _file(tmp_path, "c", "[sharedcache]\nshare = https://a/b\n    /data/wheels\n")
    assert load([file], {}).share == ("https://a/b", "/data/wheels")
    environ = {"PIP_SHAREDCACHE_SHARE": "https://a/b  file:///c"}
    assert load([file], environ).share == ("https://a/b", "file:///c")


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load([], {"PIP_SHAREDCACHE_DIR": "~/store"}).dir == tmp_path / "store"


@pytest.mark.parametrize("value", ["", "  "])
def test_empty_values_say_nothing(value: str, tmp_path: Path, site: Path) -> None:
    file = _file(tmp_path, "c", f"[sharedcache]\ndir ={value}\nshare\n")
    with pytest.raises(SettingError):  # a key without "=" is an error of pip's as well
        load([file], {})
    file = _file(tmp_path, "c", f"[sharedcache]\ndir ={value}\n")
    settings = load([file], {"PIP_SHAREDCACHE_DIR": value, option_variable("dir"): value})
    assert settings.private


def test_files_that_do_not_exist_or_may_not_be_opened_say_nothing(tmp_path: Path) -> None:
    assert load([tmp_path / "none", tmp_path], {}).link_mode is LinkMode.REFLINK


def test_other_configuration_sections_are_ignored(tmp_path: Path, site: Path) -> None:
    file = _file(tmp_path, "c", "[global]\ndir = /x\nindex-url = https://a/%(x)s\n")
    settings = load([file], {"PIP_INDEX_URL": "https://b", "PIP_SHAREDCACHED": "x"})
    assert settings.private
    assert settings.notes == ()


@pytest.mark.parametrize(
    ("section", "is_near"),
    [
        *(
            (one, True)
            for one in ("shared-cache", "SharedCache", "shared_cache", "pip-sharedcache")
        ),
        *((one, True) for one in ("sharedcahce", "sharecache", "sharedcach", "sharedcaches")),
        *((one, False) for one in ("global", "cache", "search", "download", "show", "unshared")),
    ],
)
def test_a_section_that_is_most_likely_misspelt_is_noted(
    section: str, is_near: bool, tmp_path: Path
) -> None:
    file = _file(tmp_path, "c", f"[{section}]\ndir = /x\n")
    hint = f"Section [{section}] of {file} is ignored; hint: write [sharedcache]"
    assert load([file], {}).notes == ((hint,) if is_near else ())


@pytest.mark.parametrize(
    ("section", "option", "right"),
    [
        ("global", "offline", "offline"),
        ("install", "off-line", "offline"),
        ("global", "no-sharedcache", "dir = none"),
        ("global", "no_shared_cache", "dir = none"),
        ("global", "no-index", ""),
        ("other-tool", "offline", ""),
        ("sharedcache", "offline", ""),
    ],
)
def test_an_option_of_the_command_line_in_a_section_of_pip_is_noted(
    section: str, option: str, right: str, tmp_path: Path
) -> None:
    file = _file(tmp_path, "c", f"[{section}]\n{option} = yes\n")
    hint = (
        f"Option {option} in section [{section}] of {file} is ignored; hint: write {right} in "
        "section [sharedcache]"
    )
    assert load([file], {}).notes == ((hint,) if right else ())


@pytest.mark.parametrize("variable", ["PIP_SHARED_CACHE_DIR", "PIP_SharedCache_Dir"])
def test_a_variable_that_is_most_likely_misspelt_is_noted(variable: str) -> None:
    (note,) = load([], {variable: "/x"}).notes
    assert note == f"Variable {variable} is ignored; hint: write PIP_SHAREDCACHE_DIR"
    assert load([], {variable: "/x"}, isolated=True).notes == ()


@pytest.mark.parametrize(
    ("variable", "right"),
    [
        ("PIP_SHAREDCACHEDIR", "PIP_SHAREDCACHE_DIR"),
        ("PIP_SHARED_CACHEDIR", "PIP_SHAREDCACHE_DIR"),
        ("PIP_SHARECACHE_DIR", "PIP_SHAREDCACHE_DIR"),
        ("PIP_SHAREDCACHES_DIR", "PIP_SHAREDCACHE_DIR"),
        ("PIP_SHAREDCACHELINKMODE", "PIP_SHAREDCACHE_LINK_MODE"),
        ("PIP_SHAREDCASHE_LINK_MODE", "PIP_SHAREDCACHE_LINK_MODE"),
        ("PIP_OFFLINE", "PIP_SHAREDCACHE_OFFLINE"),
        ("PIP_NO_SHAREDCACHE", "PIP_SHAREDCACHE_DIR=none"),
        ("PIP_NO_SHARED_CACHE", "PIP_SHAREDCACHE_DIR=none"),
        ("PIP_NO_INDEX", ""),
        ("PIP_SHAREDCACHED", ""),
        ("PIP_SHAREDCACHE", ""),
        ("PIP_CACHE_DIR", ""),
        ("PIP_SHARE_DIR", ""),
        ("PIP_STATS", ""),
    ],
)
def test_a_variable_with_another_beginning_is_noted(variable: str, right: str) -> None:
    hint = f"Variable {variable} is ignored; hint: write {right}"
    assert load([], {variable: "/x"}).notes == ((hint,) if right else ())


@pytest.mark.parametrize("before", ["pip._vendor.platformdirs", "platformdirs"])
def test_a_relative_xdg_directory_is_ignored(
    before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the XDG Base Directory Specification says; pip has an older platformdirs."""
    monkeypatch.setitem(sys.modules, "platformdirs", importlib.import_module(before))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, directory in (("XDG_CACHE_HOME", ".cache"), ("XDG_DATA_HOME", ".local/share")):
        for value in ("cache", "./cache", ""):
            monkeypatch.setenv(name, value)
            found = config.own_store() if name == "XDG_CACHE_HOME" else config.own_data()
            assert found == tmp_path / directory / "pip-sharedcache"
            assert os.environ[name] == value


def test_a_percent_sign_is_one(tmp_path: Path) -> None:
    file = _file(tmp_path, "c", "[sharedcache]\ndir = /a%20b/%(c)s\n")
    assert load([file], {}).dir == Path("/a%20b/%(c)s")


def test_unknown_settings_are_noted_with_their_source(tmp_path: Path) -> None:
    file = _file(tmp_path, "c", "[sharedcache]\nlink = hard\n")
    notes = load([file], {"PIP_SHAREDCACHE_DIRECTORY": "/x"}).notes
    assert notes == (
        f"Unknown setting sharedcache.link ({file}) is ignored",
        "Unknown setting sharedcache.directory (environment variable PIP_SHAREDCACHE_DIRECTORY) "
        "is ignored; hint: write PIP_SHAREDCACHE_DIR",
    )


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("sharedcache-dir", "dir"),
        ("sharedcache-link-mode", "link-mode"),
        ("linkmode", "link-mode"),
        ("directory", "dir"),
        ("dirs", "dir"),
        ("proceses", "processes"),
        ("zoom", ""),
        ("123", ""),
    ],
)
def test_unknown_setting_has_a_suggestion_where_one_is_near(
    tmp_path: Path, name: str, setting: str
) -> None:
    file = _file(tmp_path, "c", f"[sharedcache]\n{name} = /x\n")
    hint = f"; hint: write {setting}" if setting else ""
    said = f"Unknown setting sharedcache.{name} ({file}) is ignored{hint}"
    assert load([file], {}).notes == (said,)
    variable = f"PIP_SHAREDCACHE_{name.replace('-', '_').upper()}"
    right = f"PIP_SHAREDCACHE_{setting.replace('-', '_').upper()}"
    (note,) = load([], {variable: "/x"}).notes
    assert note.endswith(f"is ignored; hint: write {right}" if setting else " is ignored")


WRONG = [
    ("dir", "relative/store", "an absolute path"),
    ("dir", "/nul/\0/inside", "an absolute path"),
    ("share", "/nul/\0/inside", "URL prefixes or absolute paths"),
    ("dir", "~nobody-has-this-name/store", "an absolute path"),
    ("signers", "relative/signers", "an absolute path"),
    ("revoked-signers", "/nul/\0/inside", "an absolute path"),
    ("signing-key", "~nobody-has-this-name/key", "an absolute path"),
    ("link-mode", "hard", "reflink, hardlink, symlink, copy"),
    ("group-environment", "maybe", "yes or no"),
    ("resolutions", "maybe", "on or off"),
    ("processes", "0", "a number from 1 to 64"),
    ("processes", "65", "a number from 1 to 64"),
    ("processes", "many", "a number from 1 to 64"),
    ("processes", "+4", "a number from 1 to 64"),
    ("processes", "4.0", "a number from 1 to 64"),
    ("processes", "1_0", "a number from 1 to 64"),
    ("processes", "0x10", "a number from 1 to 64"),
    ("processes", "2 3", "a number from 1 to 64"),
    ("processes", "\u00b2", "a number from 1 to 64"),
    ("processes", "auto", "a number from 1 to 64"),
    ("processes", "9" * 5000, "a number from 1 to 64"),
    ("downloads", "0", "a number from 1 to 32"),
    ("downloads", "33", "a number from 1 to 32"),
    ("share", "index.example/simple", "URL prefixes or absolute paths"),
    ("share", "/a://b", "URL prefixes or absolute paths"),
    ("share", "https://a relative", "URL prefixes or absolute paths"),
    ("share", "https://[::1", ""),
]


@pytest.mark.parametrize(("name", "value", "wanted"), WRONG, ids=lambda text: str(text)[:25])
@pytest.mark.parametrize("kind", ["file", "environment", "option"])
def test_a_wrong_value_names_the_setting_and_its_source(
    kind: str, name: str, value: str, wanted: str, tmp_path: Path
) -> None:
    variable = "PIP_SHAREDCACHE_" + name.replace("-", "_").upper()
    files, environ, source = [], {}, ""
    if kind == "file":
        files = [_file(tmp_path, "pip.conf", f"[sharedcache]\n{name} = {value}\n")]
        source = str(files[0])
    elif kind == "environment":
        environ, source = {variable: value}, f"environment variable {variable}"
    else:
        environ, source = {option_variable(name): value}, f"option --sharedcache-{name}"
    with pytest.raises(SettingError) as caught:
        load(files, environ)
    assert f"sharedcache.{name} = {value!r} ({source}) cannot be used" in str(caught.value)
    assert wanted in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_wrong_value_that_is_overridden_does_not_matter(tmp_path: Path) -> None:
    file = _file(tmp_path, "c", "[sharedcache]\nlink-mode = wrong\n")
    assert load([file], {"PIP_SHAREDCACHE_LINK_MODE": "copy"}).link_mode is LinkMode.COPY


@pytest.mark.parametrize(
    "content",
    [
        b"dir = /x\n",
        b"[sharedcache\ndir = /x\n",
        b"[sharedcache]\ndir = /x\ndir = /y\n",
        b"[sharedcache]\ndir = /\xff\n",
        b"\0\0\0\0",
    ],
    ids=["no section", "open bracket", "key twice", "not utf-8", "zeros"],
)
def test_a_file_that_is_no_configuration_is_named_in_one_line(
    content: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "pip.conf"
    file.write_bytes(content)
    with pytest.raises(SettingError, match="cannot be read") as caught:
        load([file], {})
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_configuration_is_reported_with_the_number_of_the_line(
    tmp_path: Path,
) -> None:
    file = _file(tmp_path, "pip.conf", "# a comment\ndir = /x\n")
    with pytest.raises(SettingError, match=r"no section headers.* line: 2 "):
        load([file], {})


@pytest.mark.parametrize("name", config.NAMES)
def test_an_option_is_carried_under_a_name_that_is_found_again(name: str) -> None:
    values = {
        "dir": "/x",
        "link-mode": "copy",
        "share": "https://a",
        "group-environment": "no",
        "processes": "3",
        "downloads": "4",
        "trust": "owner",
        "verify": "always",
        "build-salt": "openmpi5",
        "stats": "off",
        "resolutions": "off",
        "offline": "yes",
        "signers": "/a/signers",
        "revoked-signers": "/a/revoked",
        "signing-key": "/a/key.pub",
        "remote-timeout": "7",
        "remote-python": "/opt/python3",
    }
    settings = load([], {option_variable(name): values[name]})
    assert settings != load([], {})
    assert settings.notes == ()


@pytest.mark.parametrize("later", ["changed", "always"])
def test_no_later_layer_takes_verify_back(tmp_path: Path, later: str) -> None:
    """Through sudo the environment may be anybody's."""
    file = tmp_path / "pip.conf"
    file.write_text("[sharedcache]\nverify = always\n")
    assert load([file], {"PIP_SHAREDCACHE_VERIFY": later}).verify
    assert not load([], {"PIP_SHAREDCACHE_VERIFY": "changed"}).verify
    with pytest.raises(SettingError, match="verify"):
        load([file], {"PIP_SHAREDCACHE_VERIFY": "never"})


def test_the_process_environment_itself_will_do() -> None:
    assert load([], os.environ).notes == ()


def test_trust_is_narrowed_by_every_place_and_widened_by_none(tmp_path: Path) -> None:
    first = _file(tmp_path, "a", "[sharedcache]\ntrust = @lab alice\n")
    second = _file(tmp_path, "b", "[sharedcache]\ntrust = owner\n")
    environ = {"PIP_SHAREDCACHE_TRUST": "@everybody"}
    assert load([first, second], environ).trust == (("@lab", "alice"), (), ("@everybody",))
    assert load([], {}).trust == ()


@pytest.mark.parametrize(("value", "expected"), [("always", True), ("Changed", False)])
def test_when_files_are_hashed(value: str, expected: bool) -> None:
    assert load([], {"PIP_SHAREDCACHE_VERIFY": value}).verify is expected
    assert not load([], {}).verify


def test_wrong_verify_setting_is_reported() -> None:
    with pytest.raises(SettingError, match="always, or changed"):
        load([], {"PIP_SHAREDCACHE_VERIFY": "sometimes"})


@pytest.fixture
def prefix(shared_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pip.conf of the running interpreter lies: a place that only root may fill."""
    monkeypatch.setattr(sys, "prefix", str(shared_tmp))
    return shared_tmp


@needs(root)
@pytest.mark.parametrize(
    ("owner", "mode", "expected"), [(0, 0o644, True), (0, 0o664, False), (54321, 0o644, False)]
)
def test_who_could_have_chosen_the_store(
    prefix: Path, owner: int, mode: int, expected: bool
) -> None:
    file = _file(prefix, "pip.conf", "[sharedcache]\ndir = /x\nshare = /\n")
    file.chmod(mode)
    os.chown(file, owner, -1)
    assert load([file], {}).dir_administered is expected
    assert load([file], {}).chosen["share"][-1].administered is expected
    assert not load([file], {"PIP_SHAREDCACHE_DIR": "/y"}).dir_administered
    assert not load([file], {option_variable("dir"): "/y"}).dir_administered
    shared = load([file], {"PIP_SHAREDCACHE_SHARE": "/"})
    assert not shared.chosen["share"][-1].administered


@needs(root)
def test_configuration_in_the_directory_of_another_user_is_not_administered(prefix: Path) -> None:
    (prefix / "elsewhere").mkdir()
    file = _file(prefix / "elsewhere", "pip.conf", "[sharedcache]\ndir = /x\n")
    assert not load([file], {}).dir_administered
    (prefix / "pip.conf").symlink_to(file)
    assert load([prefix / "pip.conf"], {}).dir_administered
    os.chown(prefix / "elsewhere", 54321, -1)
    assert not load([prefix / "pip.conf"], {}).dir_administered, "he may put another one there"


@needs(root)
def test_a_store_in_the_home_is_where_a_variable_says(prefix: Path) -> None:
    file = _file(prefix, "pip.conf", "[sharedcache]\ndir = ~/store\n")
    assert not load([file], {}).dir_administered
    file.write_text("[sharedcache]\ndir = ~root/store\n")
    assert load([file], {}).dir_administered
    assert not load([], {}).dir_administered, "one's own by default"


@needs(root)
def test_root_does_not_let_a_group_write_what_its_own_configuration_keeps(prefix: Path) -> None:
    file = _file(prefix, "pip.conf", "[sharedcache]\ngroup-environment = no\n")
    yes = {"PIP_SHAREDCACHE_GROUP_ENVIRONMENT": "yes"}
    assert not load([file], yes).group_environment
    with as_user(54321):
        assert load([file], yes).group_environment
    os.chown(file, 54321, -1)
    assert load([file], yes).group_environment


def test_a_salt_is_any_text() -> None:
    assert load([], {"PIP_SHAREDCACHE_BUILD_SALT": "openmpi 5"}).build_salt == "openmpi 5"
    assert load([], {}).build_salt == ""


def test_several_stores_are_named_on_lines_or_as_in_path(tmp_path: Path) -> None:
    expected = (
        LayerSetting(Path("/node/store"), Policy.BACKFILL),
        LayerSetting(Path("/group/a store"), Policy.PUBLISH),
        LayerSetting(Path("/site"), Policy.READ_ONLY),
        LayerSetting(Path("/own"), Policy.PRIVATE),
    )
    lines = ["/node/store  Backfill", "/group/a store", "/site\tReadOnly", "/own private", "/site"]
    file = _file(tmp_path, "pip.conf", "[sharedcache]\ndir =\n  " + "\n  ".join(lines))
    for settings in (
        load([file], {}),
        load([], {"PIP_SHAREDCACHE_DIR": os.pathsep.join(lines)}),
        load([], {option_variable("dir"): f" {os.pathsep} {os.pathsep.join(lines)} "}),
    ):
        assert settings.layers == expected
        assert settings.dir == Path("/node/store")


@pytest.mark.parametrize(
    ("text", "main"),
    [
        ("/site read-only|/group", "/group"),
        ("/own private|/site read-only", "/own"),
        ("/own private|/near backfill|/group", "/near"),
    ],
)
def test_commands_speak_of_the_first_that_is_published_to(text: str, main: str) -> None:
    settings = load([], {"PIP_SHAREDCACHE_DIR": text.replace("|", os.pathsep)})
    assert settings.dir == Path(main)


def test_one_store_is_one_layer(site: Path) -> None:
    settings = load([], {})
    assert settings.dir is not None
    assert settings.layers == (LayerSetting(settings.dir, Policy.PUBLISH),)


@pytest.mark.parametrize("text", ["/a|b read-only", "read-only", "/a|read-only", "a b", "|"])
def test_layer_without_a_path_is_reported(text: str) -> None:
    value = text.replace("|", os.pathsep)
    with pytest.raises(SettingError, match="read-only, backfill, private"):
        load([], {"PIP_SHAREDCACHE_DIR": value})


def test_layers_with_a_home_directory_are_not_administered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load([], {"PIP_SHAREDCACHE_DIR": os.pathsep.join(["/a read-only", "~/b"])})
    assert [layer.path for layer in settings.layers] == [Path("/a"), tmp_path / "b"]
    assert not settings.dir_administered


#: A value of each setting that is not its default.
OTHER = {
    "dir": "/a/store",
    "link-mode": "copy",
    "share": "/srv/wheels",
    "trust": "owner",
    "verify": "always",
    "build-salt": "gcc-14",
    "stats": "off",
    "processes": "3",
    "downloads": "4",
    "group-environment": "no",
    "resolutions": "no",
    "offline": "yes",
    "signers": "/a/signers",
    "revoked-signers": "/a/revoked",
    "signing-key": "/a/key.pub",
    "remote-timeout": "5",
    "remote-python": "/usr/bin/python3",
}


@pytest.mark.parametrize("row", config.ROWS, ids=lambda row: row.name)
def test_row_in_force_has_its_value_and_the_place_that_set_it(
    row: config.Row, tmp_path: Path, site: Path
) -> None:
    default = load([], {}).in_force()
    assert tuple(default) == config.NAMES
    file = _file(tmp_path, "pip.conf", f"[sharedcache]\n{row.name} = {OTHER[row.name]}\n")
    found = load([file], {}).in_force()
    assert found == {**default, row.name: Setting(OTHER[row.name], str(file))}
    if row.name != "dir":
        assert default[row.name] == Setting(row.default.strip("`"), "default")


def test_setting_in_force_is_the_one_that_decides(tmp_path: Path, site: Path) -> None:
    file = _file(tmp_path, "pip.conf", "[sharedcache]\nverify = always\ntrust = owner\n")
    variables = {"PIP_SHAREDCACHE_VERIFY": "changed", "PIP_SHAREDCACHE_TRUST": "alice"}
    found = load([file], variables).in_force()
    assert found["verify"] == Setting("always", str(file)), "no later place takes it back"
    both = f"{file}; environment variable PIP_SHAREDCACHE_TRUST"
    assert found["trust"] == Setting("owner; alice", both), "each place narrows it"
