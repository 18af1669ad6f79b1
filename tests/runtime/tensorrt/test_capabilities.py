"""Probes, on stand-ins that have or lack what TensorRT's versions differ in; the rest is tested by building."""

from __future__ import annotations

from types import SimpleNamespace as Thing

import pytest

from sparsevit_runtime.tensorrt import capabilities


@pytest.mark.parametrize(
    ("trt", "flags"),
    [
        (Thing(), 0),
        (Thing(NetworkDefinitionCreationFlag=Thing()), 0),
        (Thing(NetworkDefinitionCreationFlag=Thing(STRONGLY_TYPED=1)), 2),
        (Thing(NetworkDefinitionCreationFlag=Thing(STRONGLY_TYPED=0)), 1),
    ],
)
def test_networks_are_strongly_typed_where_that_is_a_choice(trt, flags):
    assert capabilities.network_flags(trt) == flags


@pytest.mark.parametrize("listing", ["all_creators", "plugin_creator_list"])
def test_creators_are_looked_up_in_either_listing(listing):
    known = [("WindowScore", "1", "sparsevit"), ("WindowScore", "1", ""), ("WindowScore", "3", "another")]
    creators = [Thing(name=name, plugin_version=version, plugin_namespace=space) for name, version, space in known]
    registry = Thing(**{listing: creators})
    assert capabilities.creator_namespaces(registry, "WindowScore", "1") == {"sparsevit", ""}
    assert capabilities.creator_namespaces(registry, "WindowScore", "2") == set()
    assert capabilities.creator_namespaces(registry, "Window", "1") == set()
    assert capabilities.creator_namespaces(Thing(), "WindowScore", "1") == set()


def test_what_is_not_there_is_left_alone():
    config = Thing()
    capabilities.set_monitor(Thing(), config, print)
    capabilities.set_tf32(Thing(BuilderFlag=Thing()), config, True)
    capabilities.keep_layer_details(Thing(), Thing(profiling_verbosity=0))
    capabilities.keep_layer_details(Thing(ProfilingVerbosity=Thing(DETAILED=2)), config)
    assert vars(config) == {}


def test_aliased_plugins_are_a_preview_feature():
    asked = []
    config = Thing(set_preview_feature=lambda *feature: asked.append(feature))
    assert not capabilities.has_aliased_plugins(Thing())
    assert not capabilities.has_aliased_plugins(Thing(PreviewFeature=Thing()))
    trt = Thing(PreviewFeature=Thing(ALIASED_PLUGIN_IO_10_03=1))
    assert capabilities.has_aliased_plugins(trt)
    capabilities.allow_aliased_plugins(trt, config)
    assert asked == [(1, True)]


def test_details_of_layers_are_kept_where_that_is_a_choice():
    config = Thing(profiling_verbosity=0)
    capabilities.keep_layer_details(Thing(ProfilingVerbosity=Thing(LAYER_NAMES_ONLY=0, DETAILED=2)), config)
    assert config.profiling_verbosity == 2


@pytest.mark.parametrize(("answer", "good"), [(None, True), (True, True), (False, False)])
@pytest.mark.parametrize("shapes", [True, False])
def test_bounds_go_to_values_or_to_shapes(answer, good, shapes):
    seen = []

    def to(kind):
        return lambda *bounds: (seen.append((kind, *bounds)), answer)[1]

    profile, tensor = (
        Thing(set_shape_input=to("values"), set_shape=to("shape")),
        Thing(name="x", is_shape_tensor=shapes),
    )
    assert capabilities.set_values(profile, tensor, [1], [2], [3]) is good
    assert seen == [("values" if shapes else "shape", "x", [1], [2], [3])]


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_bounds_that_raise_are_not_taken(kind):
    def refuse(*bounds):
        raise kind("min exceeds max")

    assert not capabilities.set_values(Thing(set_shape=refuse), Thing(name="x", is_shape_tensor=False), [3], [2], [1])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Thing(desc=lambda: "bad\n  thing"), "bad thing"),
        (Thing(desc=lambda: "bad", node_operator=lambda: "TopK", node_name=lambda: "n1"), "TopK 'n1': bad"),
        (Thing(desc=lambda: "bad", node_operator=lambda: "", node_name=lambda: ""), "bad"),
    ],
)
def test_parser_errors_in_a_line(error, line):
    assert capabilities.parser_error(error) == line


def test_only_rtx_has_no_timing_cache():
    assert [capabilities.has_timing_cache(name) for name in ("tensorrt", "tensorrt_rtx")] == [True, False]


def test_only_rtx_needs_links(tmp_path):
    capabilities.launch_environment("tensorrt", tmp_path)
    assert list(tmp_path.iterdir()) == []
