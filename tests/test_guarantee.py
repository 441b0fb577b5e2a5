"""Repairs by samples: statements from samples that no repair saw, and proofs where there is time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_networks import dense_network
from typer.testing import CliRunner

import repairsolver as rs
from repairsolver.cli.main import app
from repairsolver.errors import EditError, SamplingError
from repairsolver.repairing import guarantee as guarantees
from repairsolver.repairing.delta.sampled import Level, unmodelled_because
from repairsolver.report.sentences import explain_repair

DEMO = Path(rs.__file__).parent / "demo"
NET, PROP = DEMO / "controller.onnx", DEMO / "head_on.vnnlib"
WISHES = {"decision": "min", "norm": "l1", "epsilon": 1e-3, "eta": 1e-3}


def test_by_samples(tmp_path):
    fix = rs.repair(NET, PROP, guarantee="pac", limits=rs.Limits(seconds=30), **WISHES)
    assert fix.status == "repaired-pac"
    assert not fix.proved
    assert fix.network is not None
    assert fix.statement is not None
    assert fix.statement.accepted
    assert fix.statement.network_sha256 == fix.network.sha256
    assert fix.statement.spent <= 0.5
    assert fix.fidelity.agreement.value > 0.98
    assert 0 < fix.lower_bound <= fix.cost
    assert "by samples on all of the volume: P(violation) <= 0.001" in repr(fix)
    # anew, with other samples
    again = rs.sample(fix.network, PROP, epsilon=1e-3, eta=1e-3, seed=99)
    assert again.accepted
    fix.statement.save(tmp_path / "s.json")
    assert rs.check(tmp_path / "s.json", network=fix.network, property=PROP).valid
    assert not rs.check(tmp_path / "s.json", network=NET, property=PROP).valid


def test_auto_proves_what_it_can_in_time():
    fix = rs.repair(NET, PROP, guarantee="auto", limits=rs.Limits(seconds=60), **WISHES)
    assert fix.status == "repaired"
    assert fix.proved
    assert fix.statement is None


@pytest.fixture(scope="module")
def exact():
    net = rs.load_network(NET)
    prop = rs.load_property(PROP, network=net)
    return net, prop, rs.repair(net, prop, limits=rs.Limits(seconds=60), decision="min")


def test_a_cheaper_change_without_a_known_counterexample_is_told(exact):
    fix = exact[2]
    assert fix.unbroken is None or fix.lower_bound <= fix.unbroken < fix.cost
    assert "0.125 has no known counterexample" in explain_repair(replace(fix, unbroken=0.125))
    assert "no known counterexample" not in explain_repair(replace(fix, unbroken=None))


def unproved(exact, monkeypatch, share):
    """The exact repair ends without a proof, and later proofs leave this share of the box open."""
    net, prop, fix = exact
    region = prop.regions[0]
    top = region.lower + np.array([share, 1, 1, 1]) * (region.upper - region.lower)
    rest = rs.OpenBoxes(region.lower[None], top[None], np.zeros(1, dtype=np.int64), np.array([-0.1]))
    verdict = rs.Verdict(rs.VerifyStatus.TIMEOUT, proved_volume=1 - share, open_boxes=rest)
    late = replace(fix, status=rs.RepairStatus.TIMEOUT, verdict=verdict)
    monkeypatch.setattr(guarantees, "repair_property", lambda *_, **__: late)
    monkeypatch.setattr(guarantees, "verify_property", lambda *_, **__: verdict)
    return net, prop, fix


def test_auto_samples_what_is_left(exact, monkeypatch):
    net, prop, fix = unproved(exact, monkeypatch, 0.25)
    found = rs.repair(net, prop, guarantee="auto", limits=rs.Limits(seconds=20), **WISHES)
    assert found.status == "repaired-pac"
    assert found.network.sha256 == fix.network.sha256
    assert found.statement.part.share == pytest.approx(0.25)
    assert found.statement.overall == found.statement.upper * found.statement.part.share
    text = explain_repair(found)
    assert "on 75.0000% of the volume; sampled on the other 25.0000% (1 open box)" in text
    share = found.statement.part.share
    where = f"on {share:.4%} of the volume, the other {1 - share:.4%} proved"
    assert text.startswith(f"Not proved, but shown by samples {where}; ")
    assert f"by samples {where}: P(violation)" in repr(found)


def test_auto_goes_on_where_samples_reject(exact, monkeypatch):
    """The candidate of the exact repair is the network itself: it is rejected, and repaired by samples."""
    net, prop, fix = unproved(exact, monkeypatch, 1.0)
    late = replace(fix, status=rs.RepairStatus.TIMEOUT, network=net)
    monkeypatch.setattr(guarantees, "repair_property", lambda *_, **__: late)
    found = rs.repair(net, prop, guarantee="auto", limits=rs.Limits(seconds=12), **WISHES)
    assert found.status == "repaired-pac"
    assert found.network.sha256 != net.sha256
    assert found.statement.accepted
    assert found.statement.spent <= 1 / 6  # at least one candidate was tested before


def test_levels_of_all_candidates_sum_to_eta():
    spent = [Level(0.1, 0.1, attempts).spent for attempts in range(10_000)]
    assert 0.999 < sum(spent) <= 1


def test_bad_wishes():
    with pytest.raises(EditError, match="needs a limit of time"):
        rs.repair(NET, PROP, guarantee="auto")
    with pytest.raises(EditError, match="unknown guarantee 'sure'"):
        rs.repair(NET, PROP, guarantee="sure")
    with pytest.raises(SamplingError, match="eta: expected"):
        rs.repair(NET, PROP, guarantee="pac", eta=0)
    for guarantee in ("exact", "pac", "auto"):
        with pytest.raises(SamplingError, match="epsilon: expected a number strictly between 0 and 1"):
            rs.repair(NET, PROP, guarantee=guarantee, epsilon=2.0, limits=rs.Limits(seconds=1))


def test_command_line(tmp_path):
    out, proof = tmp_path / "fixed.onnx", tmp_path / "s.json"
    arguments = [str(NET), str(PROP), "-o", str(out), "--guarantee", "pac", "--decision", "min", "--quiet"]
    done = CliRunner().invoke(app, ["repair", *arguments, "--timeout", "30", "--certificate", str(proof)])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "repaired-pac"
    done = CliRunner().invoke(app, ["check", str(proof), "--network", str(out), "--property", str(PROP)])
    assert done.stdout.splitlines()[0] == "valid"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["exact", "--epsilon", "0.5"], "--epsilon: only for --guarantee pac or auto"),
        (["exact", "--eta", "0.5", "--min-agreement", "0.5"], "--eta, --min-agreement: only for"),
        (["pac", "--min-agreement", "0.5"], "only for --guarantee auto"),
        (["pac", "--epsilon", "1"], "epsilon: expected a number strictly between 0 and 1"),
        (["auto", "--eta", "nan"], "eta: expected a number strictly between 0 and 1"),
    ],
)
def test_command_line_errors(options, message, tmp_path):
    arguments = ["repair", str(NET), str(PROP), "-o", str(tmp_path / "out.onnx"), "--guarantee", *options]
    done = CliRunner().invoke(app, [*arguments, "-q"])
    assert done.exit_code == 1
    assert message in done.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_a_property_that_no_sample_violates_is_said_to_be_such(tmp_path):
    network, fine = rs.load_network(NET), tmp_path / "fine.vnnlib"
    given = rs.load_property(PROP, network=network)
    region = given.regions[0]
    never = replace(region, unsafe=(replace(region.unsafe[0], bound=region.unsafe[0].bound - 1e6),))
    rs.save_property(rs.Property((never,), given.input_size, given.output_size), fine)
    arguments = ["repair", str(NET), str(fine), "-o", str(tmp_path / "out.onnx"), "--guarantee", "pac", "-q"]
    done = CliRunner().invoke(app, [*arguments, "--timeout", "10"])
    assert done.stdout.splitlines()[0] == "repaired-pac"
    assert "nothing was changed" in done.stdout
    assert "falsify" in done.stdout


def kept(fix, share):
    agreement = replace(fix.fidelity.agreement, hits=int(1000 * share), total=1000)
    return replace(fix, fidelity=replace(fix.fidelity, agreement=agreement))


def test_auto_takes_no_proof_at_any_price(exact, monkeypatch):
    net, prop, fix = exact
    monkeypatch.setattr(guarantees, "repair_property", lambda *args, **wishes: kept(fix, 0.24))
    found = rs.repair(net, prop, guarantee="auto", limits=rs.Limits(seconds=20), **WISHES)
    assert found.status in ("repaired-pac", "repaired")
    assert found.network.sha256 != fix.network.sha256
    assert found.fidelity.agreement.value > 0.9
    assert "the proved repair agrees with the network on 24.00%, less than 99.00%" in found.message
    assert found.statement is not None
    taken = rs.repair(net, prop, guarantee="auto", min_agreement=0.2, limits=rs.Limits(seconds=20), **WISHES)
    assert taken.network.sha256 == fix.network.sha256


def test_auto_keeps_a_proof_that_keeps_more(exact, monkeypatch):
    net, prop, fix = exact
    monkeypatch.setattr(guarantees, "repair_property", lambda *args, **wishes: kept(fix, 0.9))
    worse = kept(replace(fix, status=rs.RepairStatus.PAC), 0.5)
    monkeypatch.setattr(guarantees, "_by_samples", lambda *args: worse)
    found = rs.repair(net, prop, guarantee="auto", limits=rs.Limits(seconds=20), **WISHES)
    assert found.proved
    assert "so that the proved one is kept" in found.message


def test_auto_takes_no_unproved_candidate_that_keeps_little(exact, monkeypatch):
    """Samples would accept it; the repair by samples keeps more."""
    net, prop, fix = exact
    late = kept(replace(fix, status=rs.RepairStatus.TIMEOUT, verdict=None), 0.24)
    monkeypatch.setattr(guarantees, "repair_property", lambda *args, **wishes: late)
    found = rs.repair(net, prop, guarantee="auto", limits=rs.Limits(seconds=20), **WISHES)
    assert found.status in ("repaired-pac", "repaired")
    assert found.network.sha256 != fix.network.sha256
    assert found.fidelity.agreement.value > 0.9
    assert "taken since the best candidate of the exact repair agrees" in found.message
    assert "\nTaken since the best candidate of the exact repair agrees" in explain_repair(found)
    assert "on 24.00%, less than 99.00%" in found.message


def test_auto_samples_a_candidate_that_keeps_little_where_no_other_is_accepted(exact, monkeypatch):
    net, prop, fix = exact
    late = kept(replace(fix, status=rs.RepairStatus.TIMEOUT, verdict=None), 0.24)
    monkeypatch.setattr(guarantees, "repair_property", lambda *args, **wishes: late)
    none = replace(fix, status=rs.RepairStatus.TIMEOUT, network=None, rounds=3)
    monkeypatch.setattr(guarantees, "_by_samples", lambda *args: none)
    seen = []
    judged = guarantees._judged
    monkeypatch.setattr(guarantees, "_judged", lambda *args: seen.append(args[2]) or judged(*args))
    found = rs.repair(net, prop, guarantee="auto", limits=rs.Limits(seconds=20), **WISHES)
    assert found.network.sha256 == fix.network.sha256
    assert found.status in ("repaired-pac", "repaired")
    assert [level.attempts for level in seen] == [3]
    assert "less than 99.00%; samples accept no repair that keeps more" in found.remarks[-1]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_bound_that_is_no_share(share):
    with pytest.raises(EditError, match="min_agreement"):
        rs.repair(NET, PROP, guarantee="auto", min_agreement=share, limits=rs.Limits(seconds=5), **WISHES)


def test_ctrl_c_leaves_the_last_candidate(monkeypatch):
    def stop(event):
        if event.stage == "sample" and "candidate" in event.message:
            raise KeyboardInterrupt

    with pytest.raises(rs.Interrupted) as stopped:
        rs.repair(NET, PROP, guarantee="pac", limits=rs.Limits(seconds=30), on_event=stop, **WISHES)
    fix = stopped.value.result
    assert isinstance(fix, rs.Repair)
    assert fix.network is not None
    assert fix.status == "unknown"
    assert not fix.proved
    assert "interrupted" in fix.message


def test_ctrl_c_in_a_proof_behind_samples_leaves_the_repair(exact, monkeypatch):
    net, prop, fix = exact
    monkeypatch.setattr(guarantees, "repair_property", lambda *args, **wishes: kept(fix, 0.24))

    def stopped(*args, **wishes):
        raise rs.Interrupted(None)

    monkeypatch.setattr(guarantees, "verify_property", stopped)
    with pytest.raises(rs.Interrupted) as found:
        rs.repair(net, prop, guarantee="auto", limits=rs.Limits(seconds=20), **WISHES)
    assert found.value.result.status == "repaired-pac"


def test_a_domain_that_is_not_characterised_is_named():
    net = dense_network(0, [60, 8, 3])
    prop = rs.not_maximal([-1.0] * 60, [1.0] * 60, 0, 3)
    fix = rs.repair(net, prop, guarantee="pac", limits=rs.Limits(seconds=20), epsilon=0.01, eta=0.01)
    assert fix.statement is not None
    assert any("60 inputs vary, at most 50" in remark for remark in fix.remarks), fix
    assert not unmodelled_because(rs.not_maximal([-1.0] * 5, [1.0] * 5, 0, 3))
