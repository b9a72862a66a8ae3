//! Sample text, used in place of a real prompt.

/// The text from which prompts are cut to measure an engine, and on which its kernels are checked.
pub(crate) const TEXT: &str = "A hedgerow is a line of closely spaced shrubs, planted and trained to form a barrier or to \
    mark the boundary of an area. Birds nest in it, hedgehogs sleep under it, and farmers have cut and laid it \
    for a thousand years. In spring the blackthorn flowers first, then the hawthorn, and in autumn there are \
    sloes, haws and blackberries for whoever comes by.";
