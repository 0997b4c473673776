# Tests on COCO's test-dev, whose annotations are the server's: see the README.
_base_ = "./panoptic-fpn_lvt_fpn_ms-3x_coco.py"

ann_file = "annotations/panoptic_image_info_test-dev2017.json"
test_dataloader = dict(
    dataset=dict(
        ann_file=ann_file,
        data_prefix=dict(_delete_=True, img="test2017/"),
        pipeline=[step for step in _base_.test_pipeline if step.type != "LoadPanopticSegments"],
    )
)
test_evaluator = dict(ann_file=_base_.data_root + ann_file)
