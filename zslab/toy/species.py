"""The forty species of toy birds: combinations of 48 attributes of eight body parts; eight species are unseen."""

import numpy as np

VARIATION = 0.18  # probability that one bird differs from its species in one trait

# Trait -> its values. A trait and a value make one attribute: has_wing_color::red.
TRAITS = {
    "crown_color": ("red", "yellow", "blue", "black", "white"),
    "crown_shape": ("rounded", "crested"),
    "bill_shape": ("cone", "hooked", "long"),
    "bill_color": ("black", "orange", "grey"),
    "back_color": ("brown", "grey", "green", "blue", "red"),
    "wing_color": ("brown", "green", "blue", "black", "red"),
    "wing_pattern": ("solid", "barred"),
    "breast_color": ("white", "yellow", "orange", "red", "grey"),
    "breast_pattern": ("solid", "striped", "spotted"),
    "belly_color": ("white", "yellow", "brown", "grey"),
    "tail_color": ("black", "blue", "red", "brown", "white"),
    "tail_shape": ("forked", "fan", "pointed"),
    "leg_color": ("orange", "black", "pink"),
}
PARTS = ("crown", "bill", "back", "wing", "breast", "belly", "tail", "leg")
ATTRIBUTES = tuple(f"has_{trait}::{value}" for trait, values in TRAITS.items() for value in values)
ATTRIBUTE_PARTS = {name: name.removeprefix("has_").split("_")[0] for name in ATTRIBUTES}

# A species a line: its name, then its value of each trait in the order of TRAITS. Each value is shared by at least four
# seen species. Seen species differ from all others in at least five traits; the unseen ones come in four pairs that
# differ in three, or nobody would mistake one for the other.
SEEN_SPECIES = """
Black_crested_Creeper       black  crested long   grey   grey  green barred grey   striped white  brown forked  black
Black_tailed_Grosbeak       black  crested cone   orange green brown solid  red    solid   yellow black pointed pink
Black_tailed_Hummingbird    yellow rounded long   grey   brown black barred grey   spotted brown  black fan     black
Black_tailed_Snipe          black  crested long   orange brown red   barred white  solid   grey   black forked  pink
Black_tailed_Tanager        black  crested cone   orange green black solid  grey   spotted white  black forked  orange
Blue_backed_Towhee          white  rounded cone   black  blue  brown barred white  striped grey   red   forked  pink
Blue_capped_Vireo           blue   rounded hooked orange green red   solid  grey   striped yellow white forked  orange
Blue_winged_Bunting         yellow crested cone   black  brown blue  solid  yellow solid   brown  blue  pointed orange
Brown_winged_Curlew         yellow crested long   grey   grey  brown solid  orange spotted grey   blue  pointed orange
Brown_winged_Sunbird        red    crested long   black  red   brown solid  yellow striped grey   brown pointed orange
Green_backed_Hoopoe         red    rounded long   black  green brown barred yellow spotted white  blue  forked  black
Green_backed_Parakeet       blue   crested hooked grey   green black barred grey   solid   brown  brown forked  orange
Green_backed_Sparrow        blue   crested cone   black  green blue  solid  red    solid   grey   white fan     orange
Green_winged_Jacamar        white  crested long   orange red   green solid  orange striped brown  white fan     black
Green_winged_Siskin         red    rounded cone   orange grey  green solid  white  solid   white  white forked  black
Grey_breasted_Weaver        blue   rounded cone   orange grey  red   solid  grey   solid   white  brown pointed black
Orange_breasted_Falcon      yellow crested hooked grey   brown red   barred orange striped white  black fan     orange
Orange_breasted_Junco       blue   crested cone   grey   grey  green solid  orange solid   white  blue  fan     black
Red_breasted_Harrier        white  rounded hooked black  red   green barred red    striped grey   red   fan     pink
Red_breasted_Waxbill        red    rounded cone   black  brown green barred red    solid   grey   red   forked  black
Red_capped_Bee_Eater        red    rounded long   black  red   black solid  red    striped grey   white fan     pink
Red_capped_Canary           red    rounded cone   orange red   green solid  white  striped brown  blue  pointed black
Red_tailed_Avocet           black  rounded long   orange brown red   barred white  striped yellow red   pointed pink
Red_tailed_Owlet            blue   crested hooked orange red   blue  barred yellow spotted white  red   fan     pink
White_breasted_Lovebird     white  rounded hooked grey   blue  red   solid  white  spotted brown  brown pointed orange
White_capped_Kite           white  rounded hooked black  blue  red   barred orange solid   brown  red   fan     black
White_crested_Shrike        white  crested hooked grey   brown blue  solid  grey   striped yellow black pointed pink
White_tailed_Lorikeet       black  crested hooked grey   grey  blue  barred white  spotted brown  white pointed black
Yellow_breasted_Finch       red    rounded cone   grey   blue  brown solid  yellow spotted yellow brown fan     orange
Yellow_capped_Butcherbird   yellow rounded hooked grey   grey  blue  barred red    spotted yellow white pointed pink
Yellow_capped_Merlin        yellow rounded hooked black  blue  black barred yellow solid   yellow brown fan     pink
Yellow_crested_Spiderhunter yellow crested long   black  blue  black barred orange spotted yellow blue  forked  orange
"""
UNSEEN_SPECIES = """
Black_crested_Oriole        black  crested long   grey   grey  red   barred red    striped yellow blue  forked  orange
Black_winged_Rosella        red    rounded hooked black  brown black solid  orange spotted brown  red   fan     pink
Blue_capped_Sandpiper       blue   rounded long   orange red   green solid  grey   solid   white  black pointed pink
Brown_winged_Macaw          black  crested hooked orange blue  brown barred yellow solid   grey   red   fan     black
Green_winged_Honeyeater     white  rounded long   orange red   green solid  grey   spotted brown  black pointed pink
Red_capped_Parrot           red    rounded hooked black  green black solid  orange spotted white  blue  fan     pink
White_crested_Kestrel       white  crested hooked orange blue  brown barred yellow solid   grey   white fan     orange
Yellow_crested_Cardinal     yellow crested cone   grey   grey  red   barred red    striped yellow brown forked  orange
"""


def _parse_species(table: str) -> dict[str, dict[str, str]]:
    """Return name -> trait -> value of the species in a table."""
    rows = [line.split() for line in table.strip().splitlines()]
    return {name: dict(zip(TRAITS, values, strict=True)) for name, *values in rows}


_SEEN, _UNSEEN = _parse_species(SEEN_SPECIES), _parse_species(UNSEEN_SPECIES)
# Alphabetical, so that class number says nothing about seen or unseen; numbered as in CUB.
SPECIES = {
    f"{number:03d}.{name}": traits for number, (name, traits) in enumerate(sorted({**_SEEN, **_UNSEEN}.items()), start=1)
}
UNSEEN_CLASSES = tuple(name for name in SPECIES if name.split(".")[1] in _UNSEEN)


def class_attributes() -> np.ndarray:
    """Return (n_classes, n_attributes) float64: the share of a species' birds that show an attribute, 0 ... 1."""
    shares = [
        (1 - VARIATION) * (value == species[trait]) + VARIATION * (value == other_value(trait, species[trait]))
        for species in SPECIES.values()
        for trait, values in TRAITS.items()
        for value in values
    ]
    return np.array(shares).reshape(len(SPECIES), len(ATTRIBUTES))


def other_value(trait: str, value: str) -> str:
    """Return the value that a bird shows where it differs from its species."""
    values = TRAITS[trait]
    return values[(values.index(value) + 1) % len(values)]


def individual(species: dict[str, str], random: np.random.RandomState) -> dict[str, str]:
    """Draw the traits of one bird of a species."""
    return {trait: other_value(trait, value) if random.rand() < VARIATION else value for trait, value in species.items()}
