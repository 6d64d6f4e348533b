import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.errors import SearchError
from latlas.search.recipe import Recipe, load_recipe, parse_recipe, recipe_names


def test_recipes_that_come_along_say_what_their_authors_did() -> None:
    assert recipe_names() == ("digits", "mnasnet_imagenet", "nasnet_cifar", "ssdlite_coco")
    mnasnet = load_recipe("mnasnet_imagenet")
    # 0 to 0.256 in 5 epochs for batches of 4,096, then 0.97 every 2.4 epochs
    assert mnasnet.rate(5 * 100, 100) == pytest.approx(0.064 * 0.97**2)
    assert mnasnet.rate(24 * 100, 100) == pytest.approx(0.064 * 0.97**10)
    assert mnasnet.rate(249, 100) == pytest.approx(0.032)
    assert (mnasnet.optimizer.decay, mnasnet.ema, mnasnet.dropout) == (0.9, 0.9999, 0.2)
    nasnet = load_recipe("nasnet_cifar")
    assert nasnet.rate(0, 10) == 0.025
    assert nasnet.rate(3000, 10) == pytest.approx(0.0125)
    assert nasnet.rate(6000, 10) == pytest.approx(0)
    assert (nasnet.drop_path.rate, nasnet.drop_path.schedule) == (0.4, "scheduled")
    assert (nasnet.optimizer.clip_norm, nasnet.optimizer.weight_decay) == (5.0, 5e-4)


def test_warmup_and_constant() -> None:
    recipe = parse_recipe(
        "batch_size = 512\n[learning_rate]\nvalue = 0.1\nschedule = 'constant'\nwarmup_epochs = 2"
    )
    assert [recipe.rate(step, 2) for step in range(6)] == pytest.approx(
        [0.05, 0.1, 0.15, 0.2, 0.2, 0.2]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = ", "not TOML"),
        ("epoch = 3", "unknown key 'epoch'; known are epochs"),
        ("epochs = 0", "epochs of a recipe is 1 to 100000, not 0"),
        ("epochs = 1.5", "epochs is a whole number, not '1.5'"),
        ("epochs = true", "whole number"),
        ("ema = nan", "a number, not 'nan'"),
        ("optimizer = 'sgd'", "optimizer is a table"),
        ("[optimizer]\nkind = 'lion'", "one of 'sgd', 'rmsprop', 'adam', not 'lion'"),
        ("[optimizer]\nmomentum = 2.0", "optimizer.momentum of a recipe is 0 to"),
        ("[optimizer]\nnesterov = 1", "true or false"),
        ("[drop_path]\nrates = 1", "drop_path has the unknown key"),
    ],
)
def test_what_is_not_a_recipe(text: str, message: str) -> None:
    with pytest.raises(SearchError) as caught:
        parse_recipe(text)
    assert message in str(caught.value)


@given(
    st.recursive(
        st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=5)),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["rate", "kind", "value", "x"]), inner, max_size=2)
        ),
        max_leaves=4,
    ),
    st.sampled_from(["epochs", "ema", "optimizer", "drop_path", "dropout"]),
)
def test_nothing_but_our_error(value: object, key: str) -> None:
    import tomli_w

    try:
        text = tomli_w.dumps({key: value})
    except (TypeError, ValueError):
        return
    with suppress(SearchError):
        assert isinstance(parse_recipe(text), Recipe)


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    with suppress(SearchError):
        parse_recipe(text)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs = 4")
    assert load_recipe(str(path)).epochs == 4
    path.write_bytes(b"#" * (1 << 17))
    with pytest.raises(SearchError, match="longer than"):
        load_recipe(str(path))
    path.write_bytes(b"\xff")
    with pytest.raises(SearchError, match="not TOML"):
        load_recipe(str(path))
    os.mkfifo(tmp_path / "pipe.toml")  # to open it would wait for a writer
    for name in ("none.toml", "pipe.toml"):
        with pytest.raises(SearchError, match="no file"):
            load_recipe(str(tmp_path / name))
    with pytest.raises(SearchError, match="no recipe 'none'; there are digits"):
        load_recipe("none")
