"""Tables: aligned columns, Mbit read off between two rows, ratios to og, numbers a reader can compare."""

import csv
import io
import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpimasha.show import tables


# -- text ------------------------------------------------------------------------------------------


def test_words_stand_left_and_numbers_right_under_their_headers():
    lines = tables.text(["method", "up", "x"], [["og", "7.11", "-"], ["masha1", "12.3", "0.5x"]]).split("\n")
    assert lines == ["method    up     x", "------------------", "og      7.11     -", "masha1  12.3  0.5x"]


def test_no_line_ends_in_spaces_and_the_rule_is_as_long_as_the_longest():
    lines = tables.text(["a", "b"], [["x", "y"], ["x", "longer word"]]).split("\n")
    assert all(line == line.rstrip() for line in lines) and len(lines[1]) == max(map(len, lines))


def test_a_table_without_rows_is_its_header():
    assert tables.text(["a", "bc"], []).split("\n") == ["a  bc", "-----"]


# -- Mbit to a level -------------------------------------------------------------------------------


def rows(*pairs):
    return [{"relative_error": error, "uplink_bits": bits} for error, bits in pairs]


def test_mbit_are_read_off_log_linearly_between_two_rows():
    history = rows((1.0, 0.0), (1e-2, 2e6), (1e-6, 6e6))
    assert tables.mbit(history, "uplink_bits", 1e-2) == 2.0
    assert tables.mbit(history, "uplink_bits", 1e-4) == pytest.approx(4.0)
    assert tables.mbit(history, "uplink_bits", 1e-1) == pytest.approx(1.0)
    assert tables.mbit(history, "uplink_bits", 1e-6) == 6.0


def test_mbit_are_those_of_the_first_time_a_level_is_reached():
    history = rows((1.0, 0.0), (1e-3, 1e6), (1e-1, 2e6), (1e-9, 3e6))
    assert tables.mbit(history, "uplink_bits", 1e-3) == 1.0


@pytest.mark.parametrize("history", [rows((1.0, 0.0), (1e-2, 1e6)), rows((None, 0.0)), [],
                                     rows((1.0, 0.0), (math.nan, 1e6), (math.inf, 2e6))])
def test_a_level_that_was_not_reached_has_no_mbit(history):
    assert tables.mbit(history, "uplink_bits", 1e-4) is None


def test_a_start_below_the_level_and_an_error_of_zero_are_no_trouble():
    assert tables.mbit(rows((1e-9, 5e5)), "uplink_bits", 1e-4) == 0.5
    assert tables.mbit(rows((1.0, 0.0), (0.0, 2e6)), "uplink_bits", 1e-4) == 2.0


# -- comparisons -----------------------------------------------------------------------------------


@dataclass
class Found:
    """As much of a Result as a table reads."""

    summary: dict
    rows: list
    status: str = "converged"


def found(method, up, down, status="converged", last=1e-9):
    history = [{"relative_error": error, "uplink_bits": share * up * 1e6, "downlink_bits": share * down * 1e6}
               for error, share in ((1.0, 0.0), (last, 1.0))]
    return Found({"method": method, "compressor": "randk:5", "rounds": 12, "converged": status == "converged",
                  "seconds": 1.25, "gamma_L": 0.5, "tau": None}, history, status)


def table(results, target=1e-9):
    header, lines, _ = tables.comparison({label: [result] for label, result in results.items()}, target)
    assert all(len(line) == len(header) for line in lines)
    return [dict(zip(header, line)) for line in lines], header


def test_a_comparison_gives_the_bits_of_each_method_and_how_many_times_fewer_than_og():
    lines, header = table({"OG": found("og", 9.0, 9.0), "mine": found("masha1", 3.0, 6.0)})
    last_up = [h for h in header if h.startswith("up")][-1]
    assert [line["method"] for line in lines] == ["OG", "mine"]
    assert [line[last_up] for line in lines] == ["9.00", "3.00"]
    ratios = list(lines[1].values())[-2:]
    assert [float(r.rstrip("x")) for r in ratios] == [3.0, 2.0]
    assert [float(r.rstrip("x")) for r in list(lines[0].values())[-2:]] == [1.0, 1.0]


def test_who_did_not_get_there_has_dashes_and_says_why():
    lines, header = table({"OG": found("og", 9.0, 9.0), "bad": found("masha1", 3.0, 6.0, "diverged", last=0.5),
                           "slow": found("masha2", 3.0, 6.0, "rounds", last=1e-5)})
    assert lines[1]["method"] == "bad (diverged)" and lines[2]["method"] == "slow (rounds)"
    assert list(lines[1].values())[-2:] == ["-", "-"] == list(lines[2].values())[-2:]
    ups = [h for h in header if h.startswith("up")]
    assert lines[1][ups[0]] == lines[1][ups[1]] == "-" == lines[2][ups[1]] and lines[2][ups[0]] != "-"


def test_several_seeds_are_a_mean_and_its_interval_and_who_is_missing_is_counted():
    several = {"OG": [found("og", 8.0, 8.0), found("og", 10.0, 8.0)],
               "mine": [found("masha1", 3.0, 6.0), found("masha1", 3.0, 6.0)],
               "some": [found("masha1", 3.0, 6.0), found("masha1", 3.0, 6.0, "rounds", last=0.5)]}
    header, rows, note = tables.comparison(several, 1e-9)
    cells = [dict(zip(header, row)) for row in rows]
    assert cells[0]["up 1e-09"] == "9.00 ± 12.71" and cells[0]["down 1e-09"] == "8.00"  # t = 12.706, deviation sqrt(2)
    assert cells[1]["up 1e-09"] == "3.00" and cells[1]["vs og: up"] == "3.00x"
    assert cells[2]["up 1e-09"] == "- (1 of 2)" and cells[2]["both"] == "-" and cells[2]["method"] == "some (1 rounds)"
    assert "Means over the seeds" in note


def test_markdown_has_the_same_cells_and_no_bar_breaks_it():
    lines = tables.markdown(["method", "up"], [["og", "7.11"], ["a|b", "-"]]).splitlines()
    assert lines == ["| method | up |", "| :-- | --: |", "| og | 7.11 |", "| a\\|b | - |"]


def test_comma_separated_values_hold_every_run_in_full():
    text = tables.csv({"M = 3": {"a, b": [found("og", 9.0, 9.0)]}, "": {"c": [found("og", 1.0, 1.0)] * 2}})
    records = list(csv.DictReader(io.StringIO(text)))
    assert [(r["on"], r["label"]) for r in records] == [("M = 3", "a, b"), ("", "c"), ("", "c")]
    assert float(records[0]["gamma_L"]) == 0.5 and records[0]["tau"] == ""


@pytest.mark.parametrize("og", [{}, {"OG": found("og", 9.0, 9.0, "rounds", last=0.5)}])
def test_without_an_og_that_got_there_there_are_no_ratios(og):
    lines, _ = table({**og, "mine": found("masha1", 3.0, 6.0)})
    assert list(lines[-1].values())[-2:] == ["-", "-"]


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("value, text", [
    (None, "-"), (0, "0"), (0.0, "0"), (1, "1.00"), (7.114, "7.11"), (12.34, "12.3"), (123.4, "123"), (1234.4, "1234"),
    (0.001, "0.00100"), (0.0123, "0.0123"), (-2.5, "-2.50"), (12345.0, "1.23e+04"), (1e-7, "1e-07"), (math.nan, "nan"),
    (math.inf, "inf"), (0.9996, "1.00"), (9.996, "10.0"), (99.96, "100"), (999.6, "1000")])
def test_a_number_has_three_significant_digits(value, text):
    assert tables.number(value) == text


@given(value=st.floats(1e-3, 9999.0))
def test_a_number_is_within_half_of_its_last_digit_and_has_no_exponent(value):
    text = tables.number(value)
    assert "e" not in text
    assert abs(float(text) - value) <= 0.0051 * value
