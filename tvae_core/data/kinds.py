"""The sequences of one split, whatever the data set: all have the same methods."""

from tvae_core.data.dsprites import SpriteSequences
from tvae_core.data.mnist import DigitSequences
from tvae_core.data.own_sequences import OwnSequences

SplitSequences = DigitSequences | SpriteSequences | OwnSequences
