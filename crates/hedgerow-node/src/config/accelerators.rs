//! Settings for accelerators.

use std::str::FromStr;

/// Number of layers to place on accelerators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuLayers {
    /// As many as fit.
    Auto,
    /// All; an error if they do not fit.
    All,
    /// This many; the output layer counts as one.
    Count(u32),
}

/// The accelerators to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// llama.cpp's default selection.
    Default,
    /// None: the CPU only.
    None,
    /// The accelerators with these names.
    Named(Vec<String>),
}

impl GpuLayers {
    /// Whether the setting requires an accelerator.
    pub(crate) fn asks_for_some(self) -> bool {
        match self {
            Self::Auto | Self::Count(0) => false,
            Self::All | Self::Count(_) => true,
        }
    }
}

impl FromStr for GpuLayers {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.trim().to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "all" => Ok(Self::All),
            number => number.parse().map(Self::Count).map_err(|_| ()),
        }
    }
}

impl From<&str> for DeviceChoice {
    fn from(text: &str) -> Self {
        let mut names: Vec<String> = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                names.push(name.to_owned());
            }
        }
        match names.as_slice() {
            [] => Self::Default,
            [one] if ["none", "cpu"].iter().any(|word| one.eq_ignore_ascii_case(word)) => Self::None,
            _ => Self::Named(names),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_a_number_or_a_word() {
        let parse = |text: &str| text.parse::<GpuLayers>();
        assert_eq!([parse("auto"), parse(" ALL ")], [Ok(GpuLayers::Auto), Ok(GpuLayers::All)]);
        assert_eq!([parse("0"), parse("99")], [Ok(GpuLayers::Count(0)), Ok(GpuLayers::Count(99))]);
        for wrong in ["", "-1", "1.5", "some", "4294967296"] {
            assert_eq!(parse(wrong), Err(()), "{wrong:?}");
        }
        assert!(GpuLayers::All.asks_for_some() && GpuLayers::Count(1).asks_for_some());
        assert!(!GpuLayers::Auto.asks_for_some() && !GpuLayers::Count(0).asks_for_some());
    }

    #[test]
    fn devices_are_names_each_taken_once() {
        let named = |names: &[&str]| DeviceChoice::Named(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(DeviceChoice::from(""), DeviceChoice::Default);
        assert_eq!(
            [DeviceChoice::from("none"), DeviceChoice::from("CPU")],
            [DeviceChoice::None, DeviceChoice::None]
        );
        assert_eq!(DeviceChoice::from("CUDA1, Vulkan0,cuda1,"), named(&["CUDA1", "Vulkan0"]));
        assert_eq!(DeviceChoice::from("cpu,CUDA0"), named(&["cpu", "CUDA0"]));
    }
}
