"""Feature upsamplers, one file each: the file's name is the name users type.

Contract: `build(dim, state_dict) -> module`, and `module(features, image, size) -> features` with
features `(batch, dim, h, w)`, image `(batch, 3, H, W)` normalised as for the backbone, size `(rows, cols)`.
A module that wants images normalised otherwise has a method `sees(mean, std)`: it is told the backbone's, and converts.
One whose pixels are sums of tokens with weights that add up to one has `mix(features, image, size, values)`: the same
sums of other values `(batch, channel, h, w)` of the tokens.
One that serves only windows of some tokens a side tells how many in `least`.
One that holds more maps than the features themselves tells how many channels of them in `held`.
"""
