"""Weight files are read without running code, and what does not fit is named."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tlstudio.api import WeightsError
from tlstudio.api.weights import file_in_distribution, fit_state_dict, read_state_dict, sha256_of, weight_file


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


class Bomb:
    """Pickles into a call that would leave a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, (f"open({str(self.trace)!r}, 'w').close()",))


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.pth", "a.bin"])
def test_each_kind_of_file_gives_back_what_was_saved(tmp_path: Path, name: str) -> None:
    state, path = small().state_dict(), tmp_path / name
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    found = read_state_dict(path, sha256=sha256_of(path))
    assert all(torch.equal(found[key], value) for key, value in state.items())


@pytest.mark.parametrize("wrap", ["state_dict", "model_state_dict", "model"])
def test_common_wrappings_and_prefixes_are_taken_off(tmp_path: Path, wrap: str) -> None:
    state = {f"module.{key}": value for key, value in small().state_dict().items()}
    torch.save({wrap: state, "epoch": 3}, tmp_path / "a.pt")
    assert set(read_state_dict(tmp_path / "a.pt")) == set(small().state_dict())


@pytest.mark.parametrize("inside", [False, True])
def test_a_file_with_code_is_refused_and_the_code_never_runs(tmp_path: Path, inside: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pth"
    torch.save({"weight": torch.zeros(1), "hook": Bomb(trace)} if inside else Bomb(trace), path)
    with pytest.raises(WeightsError, match=r"evil\.pth contains Python code .* not run") as caught:
        read_state_dict(path)
    assert not trace.exists()
    assert caught.value.path == path


def test_a_bare_pickle_with_code_is_refused_and_the_code_never_runs(tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.bin"
    path.write_bytes(pickle.dumps(Bomb(trace), protocol=2))
    with pytest.raises(WeightsError, match=r"evil\.bin"):
        read_state_dict(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_a_cut_file_is_told(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    state = {"weight": torch.randn(100, 100)}
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(WeightsError, match=rf"{name} "):
        read_state_dict(path)


@pytest.mark.parametrize("content", [b"hello world, this is no weight file at all", b"PK\x03\x04 broken", b"\x80\x02."])
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_something_else_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name} "):
        read_state_dict(tmp_path / name)


def test_a_file_without_tensors_and_a_missing_one_are_told(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_state_dict(tmp_path / "a.pt")
    torch.save([1, 2], tmp_path / "b.pt")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_state_dict(tmp_path / "b.pt")
    with pytest.raises(WeightsError, match="no weight file"):
        read_state_dict(tmp_path / "c.pt")


def test_the_hash_may_be_whole_or_its_beginning_and_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(small().state_dict(), path)
    right = sha256_of(path)
    assert read_state_dict(path, sha256=right[:8])
    with pytest.raises(WeightsError, match="not the file it should be"):
        read_state_dict(path, sha256="0" * 64)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")  # torch says that it takes time
@pytest.mark.parametrize(
    "odd",
    [torch.eye(3).to_sparse(), torch.zeros(2, device="meta")],
    ids=["sparse", "without values"],
)
def test_tensors_that_no_parameter_can_take_are_told(odd: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({**small().state_dict(), "0.weight": odd}, path)
    with pytest.raises(WeightsError, match=r"x\.pth holds 1 tensors .* \(0\.weight\)"):
        read_state_dict(path)


def test_weights_that_do_not_fit_are_told_key_by_key(tmp_path: Path) -> None:
    state = {**small().state_dict(), "extra.weight": torch.zeros(1), "0.weight": torch.zeros(2, 3)}
    del state["0.bias"]
    network = small()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        fit_state_dict(network, state, path=tmp_path / "x.pt")
    sentence = str(caught.value)
    for part in ("x.pt", "missing (0.bias)", "unknown (extra.weight)", "0.weight: (2, 3) instead of (4, 3)"):
        assert part in sentence
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_a_key_that_is_missing_is_told_with_the_nearest_that_would_fit(tmp_path: Path) -> None:
    state = small().state_dict()
    state = {key.replace("0.bias", "0.bia"): value for key, value in state.items()} | {"0.biaz": torch.zeros(9)}
    with pytest.raises(WeightsError, match=r"missing \(0\.bias; nearest is 0\.bia\)"):
        fit_state_dict(small(), state, path=tmp_path / "x.pt")


def test_names_with_another_beginning_are_told_with_it(tmp_path: Path) -> None:
    state = {f"encoder.net.{key}": value for key, value in small().state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        fit_state_dict(small(), state, path=tmp_path / "x.pt")
    count = len(list(small().parameters())) + 2  # and running mean and variance
    said = f'{count} of them are there as "encoder.net.…": save the weights without "encoder.net." in their names.'
    assert caught.value.remedy == said


def test_the_head_of_the_original_task_may_be_left_over(tmp_path: Path) -> None:
    state, network = {**small().state_dict(), "fc.weight": torch.zeros(1)}, small()
    fit_state_dict(network, state, path=tmp_path / "x.pt", optional=lambda key: key.startswith("fc."))
    assert torch.equal(network.state_dict()["0.weight"], state["0.weight"])


def test_a_folder_stands_for_the_weight_file_in_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no model\.safetensors"):
        weight_file(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(WeightsError, match="spread over several files"):
        weight_file(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    assert weight_file(tmp_path).name == "pytorch_model.bin"
    (tmp_path / "model.safetensors").touch()
    assert weight_file(tmp_path).name == "model.safetensors"
    assert weight_file(tmp_path / "model.safetensors").name == "model.safetensors"
    with pytest.raises(WeightsError, match="nothing at"):
        weight_file(tmp_path / "elsewhere")


def test_a_file_of_an_installed_package_is_found_without_importing_it() -> None:
    found = file_in_distribution("torch", "torch/__init__.py")
    assert found is not None
    assert found.is_file()
    assert file_in_distribution("torch", "no such file") is None
    assert file_in_distribution("no-such-distribution-anywhere", "x") is None
