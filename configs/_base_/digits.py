# (ours) Names and colours of the digits, those of mmscalablevit.datasets.DETECTION_METAINFO.
metainfo = dict(
    classes=tuple(str(digit) for digit in range(10)),
    palette=[
        (230, 25, 75),
        (60, 180, 75),
        (255, 225, 25),
        (0, 130, 200),
        (245, 130, 48),
        (145, 30, 180),
        (70, 240, 240),
        (240, 50, 230),
        (170, 255, 60),
        (250, 190, 190),
    ],
)
