"""Any pairs of one's own: folders A, B and label with files of the same names, with or without parts."""

from earthwords.data.change.spec import ChangeSetSpec, pictures
from earthwords.data.segmentation.spec import Encoding

SPEC = ChangeSetSpec(
    name="folders",
    title="pairs in folders A, B and label",
    before=(*pictures("{split}/A"), *pictures("A")),
    after=(*pictures("{split}/B"), *pictures("B")),
    labels=(*pictures("{split}/label"), *pictures("label")),
    encoding=Encoding(at_least=1),
    notes="Any value above 0 is change.",
)
