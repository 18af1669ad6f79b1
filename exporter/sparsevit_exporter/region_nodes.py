"""Portable bodies of the nodes for regions: `regions` says what they compute.

Everything whose size depends on the data stays inside: both nodes take and return tensors of fixed shapes. Names inside
a function are unique in it, as ONNX Runtime puts the body in the node's place.
"""

from __future__ import annotations

from .regions import LEVELS

#: Behind ONNX's NonMaxSuppression, which shares boxes among the classes of a batch entry: a group is an entry of one
#: class. It turns a box without area around and lets it suppress, hence the zeros; NaN is left out by its score.
NMS_KEEP = """
NmsKeep <iou, score_threshold, limit> (boxes, scores) => (keep) {
    box_axis = Constant <value_ints: ints = [2]> ()
    class_axis = Constant <value_ints: ints = [1]> ()
    corner_axis = Constant <value_int: int = -1> ()
    is_nan = IsNaN (boxes)
    is_nan_number = Cast <to: int = 6> (is_nan)
    nans = ReduceMax <keepdims: int = 0> (is_nan_number, box_axis)
    has_nan = Cast <to: int = 9> (nans)
    lowest = Constant <value_float: float = -inf> ()
    own_scores = Where (has_nan, lowest, scores)
    class_scores = Unsqueeze (own_scores, class_axis)
    corner_places = Constant <value_ints: ints = [0, 1]> ()
    opposite_places = Constant <value_ints: ints = [2, 3]> ()
    corner = Gather <axis: int = 2> (boxes, corner_places)
    opposite = Gather <axis: int = 2> (boxes, opposite_places)
    side_is_proper = Less (corner, opposite)
    side_is_proper_number = Cast <to: int = 6> (side_is_proper)
    proper_number = ReduceMin <keepdims: int = 1> (side_is_proper_number, box_axis)
    is_proper = Cast <to: int = 9> (proper_number)
    nowhere = Constant <value_float: float = 0.0> ()
    proper_boxes = Where (is_proper, boxes, nowhere)
    most = Constant <value_int: int = @limit> ()
    most_overlap = Constant <value_float: float = @iou> ()
    least_score = Constant <value_float: float = @score_threshold> ()
    chosen = NonMaxSuppression (proper_boxes, class_scores, most, most_overlap, least_score)
    chosen_parts = Constant <value_ints: ints = [0, 2]> ()
    places = Gather <axis: int = 1> (chosen, chosen_parts)
    chosen_shape = Shape (places)
    first_size = Constant <value_ints: ints = [0]> ()
    chosen_count = Gather (chosen_shape, first_size)
    ones = ConstantOfShape <value: tensor = int32[1] {1}> (chosen_count)
    scores_shape = Shape (scores)
    zeros = ConstantOfShape <value: tensor = int32[1] {0}> (scores_shape)
    keep = ScatterND (zeros, places, ones)
}"""

_LEVEL = """
    level{i} = Constant <value_int: int = {i}> ()
    on_level{i} = Equal (levels, level{i})
    axes_places{i} = NonZero (on_level{i})
    places{i} = Transpose <perm: ints = [1, 0]> (axes_places{i})
    samples{i} = Gather <axis: int = 0> (axes_places{i}, zero)
    boxes{i} = GatherND (boxes, places{i})
    stride{i} = Gather (float_strides, level{i})
    cells{i} = Div (boxes{i}, stride{i})
    map{i} = Cast <to: int = 1> (p{level})
    found{i} = RoiAlign <coordinate_transformation_mode: string = "half_pixel", mode: string = "avg",
        output_height: int = @output_size, output_width: int = @output_size, sampling_ratio: int = 0,
        spatial_scale: float = 1.0> (map{i}, cells{i}, samples{i})
"""

#: RoiAlign level by level over the boxes that lie on it; those without area lie on none. Boxes are divided by the
#: stride beforehand, as a function cannot work an attribute out of another.
MULTI_LEVEL_ROI_ALIGN = f"""
MultiLevelRoiAlign <output_size, finest_scale, strides> (p2, p3, p4, p5, boxes) => (regions) {{
    zero = Constant <value_int: int = 0> ()
    one = Constant <value_int: int = 1> ()
    no_level = Constant <value_int: int = -1> ()
    stride_list = Constant <value_ints: ints = @strides> ()
    float_strides = Cast <to: int = 1> (stride_list)
    corner_places = Constant <value_ints: ints = [0, 1]> ()
    opposite_places = Constant <value_ints: ints = [2, 3]> ()
    corner = Gather <axis: int = 2> (boxes, corner_places)
    opposite = Gather <axis: int = 2> (boxes, opposite_places)
    sides = Sub (opposite, corner)
    widths = Gather <axis: int = 2> (sides, zero)
    heights = Gather <axis: int = 2> (sides, one)
    nothing = Constant <value_float: float = 0.0> ()
    is_wide = Greater (widths, nothing)
    is_high = Greater (heights, nothing)
    has_area = And (is_wide, is_high)
    areas = Mul (widths, heights)
    real_areas = Where (has_area, areas, nothing)
    lengths = Sqrt (real_areas)
    finest = Constant <value_int: int = @finest_scale> ()
    finest_length = Cast <to: int = 1> (finest)
    relative = Div (lengths, finest_length)
    tiny = Constant <value_float: float = 0.000001> ()
    scales = Add (relative, tiny)
    doublings = Constant <value_floats: floats = [2.0, 4.0, 8.0]> ()
    scale_axis = Constant <value_ints: ints = [2]> ()
    scale_columns = Unsqueeze (scales, scale_axis)
    reached = GreaterOrEqual (scale_columns, doublings)
    reached_numbers = Cast <to: int = 7> (reached)
    area_levels = ReduceSum <keepdims: int = 0> (reached_numbers, scale_axis)
    levels = Where (has_area, area_levels, no_level)
    {"".join(_LEVEL.format(i=i, level=i + 2) for i in range(LEVELS))}
    all_found = Concat <axis: int = 0> ({", ".join(f"found{i}" for i in range(LEVELS))})
    all_places = Concat <axis: int = 0> ({", ".join(f"places{i}" for i in range(LEVELS))})
    found_shape = Shape <start: int = 1> (all_found)
    outer_shape = Shape <start: int = 0, end: int = 2> (boxes)
    regions_shape = Concat <axis: int = 0> (outer_shape, found_shape)
    zeros = ConstantOfShape (regions_shape)
    float_regions = ScatterND (zeros, all_places, all_found)
    regions = CastLike (float_regions, p2)
}}"""
