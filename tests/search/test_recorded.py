import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.errors import SearchError
from latlas.search.recorded import TableOracle


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "genes,accuracy,note\n0 1 2,0.5,x\n2-1-0,0.75,y\n"),
        ("a.jsonl", '{"genes": [0, 1, 2], "accuracy": 0.5}\n\n{"genes":[2,1,0],"accuracy":0.75}'),
    ],
)
def test_tables(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    oracle = TableOracle(path, choices=(3, 3, 3), standard_error=0.01)
    found = oracle.evaluate([(2, 1, 0), (1, 1, 1), (0, 1, 2)])
    assert found[[0, 2]].tolist() == [0.75, 0.5]
    assert math.isnan(found[1])
    assert oracle.standard_error == 0.01
    again = oracle.identity
    path.write_text(text.replace("0.75", "0.7"))
    assert TableOracle(path).identity != again


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "genes\n0", "columns genes and accuracy"),
        ("a.csv", "genes,accuracy\n0 x,0.5", "line 2: invalid literal"),
        ("a.csv", "genes,accuracy\n0 1,75", "a fraction, 0 to 1, not 75"),
        ("a.csv", "genes,accuracy\n0 1,nan", "a fraction"),
        ("a.csv", "genes,accuracy\n0,0.5", "not of the space, which has 2 genes"),
        ("a.csv", "genes,accuracy\n0 3,0.5", "not of the space"),
        ("a.csv", "genes,accuracy\n0 1,0.5\n0 1,0.6", "two accuracies"),
        ("a.csv", "genes,accuracy", "lists no architecture"),
        ("a.json", "[]", "line 1 is no JSON object"),
        ("a.json", "[" * 100_000, "line 1 is no JSON object"),
        ("a.json", '{"genes": [true, 0], "accuracy": 0.5}', "list of integers"),
        ("a.json", '{"genes": [0, 0], "accuracy": "0.5"}', "is a number"),
        ("a.json", '{"genes": [0, -1], "accuracy": 0.5}', "integers from 0"),
    ],
)
def test_what_is_no_table(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SearchError) as caught:
        TableOracle(path, choices=(3, 3))
    assert message in str(caught.value)
    with pytest.raises(SearchError, match="no file"):
        TableOracle(tmp_path / "none")


@given(st.binary(max_size=60), st.sampled_from(["x.csv", "x.json"]))
def test_nothing_but_our_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data if name == "x.json" else b"genes,accuracy\n" + data)
    with suppress(SearchError):
        TableOracle(path)
