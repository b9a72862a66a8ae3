//! How many layers fit on which devices: arithmetic on sizes in bytes, without any device.

/// What a model and its engine take, by layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Weights of the model's layers, the first one first.
    pub(crate) layers: Vec<u64>,
    /// Weights of the output, which counts as one layer more.
    pub(crate) output: u64,
    /// Weights that always stay with the CPU: the table of the input.
    pub(crate) input: u64,
    /// The cache of one layer, for all requests.
    pub(crate) kv_per_layer: u64,
    /// What a device needs besides, to compute a step.
    pub(crate) compute: u64,
}

/// The memory of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// All that it has.
    pub(crate) total: u64,
    /// What its driver says is free: llama.cpp splits layers in this proportion.
    pub(crate) reported_free: u64,
    /// What of that is not promised to models loaded before.
    pub(crate) free: u64,
    /// Whether the machine uses the same memory, so that what stays with the CPU counts as well.
    pub(crate) is_shared: bool,
}

/// What stays free of a device's memory: for its driver, for what others on the machine use it for (a desktop), and
/// for what the estimate of a step's memory leaves out.
const MARGIN_MIN: u64 = 256 << 20;
/// The same as a part of all it has: drivers need more on larger devices.
const MARGIN_PART: u64 = 16;

impl Sizes {
    /// All layers, the output included.
    pub(crate) fn layer_count(&self) -> u32 {
        self.layers.len() as u32 + 1
    }

    /// What the last `count` layers, as llama.cpp counts them, take on each device: weights and cache.
    pub(crate) fn on_devices(&self, rooms: &[Room], count: u32) -> Vec<u64> {
        let count = count.min(self.layer_count()) as usize;
        let first = self.layers.len() + 1 - count;
        let mut taken = vec![0_u64; rooms.len()];
        for index in 0..count {
            let layer = self.layers.get(first + index);
            let bytes = layer.map_or(self.output, |weights| weights.saturating_add(self.kv_per_layer));
            let device = device_of(index, count, rooms);
            taken[device] = taken[device].saturating_add(bytes);
        }
        taken
    }

    /// The same of the cache alone.
    pub(crate) fn kv_on_devices(&self, rooms: &[Room], count: u32) -> Vec<u64> {
        let cache_alone = Self { layers: vec![0; self.layers.len()], output: 0, ..self.clone() };
        cache_alone.on_devices(rooms, count)
    }

    /// What stays with the CPU when the last `count` layers do not.
    fn on_cpu(&self, count: u32) -> u64 {
        let stay = self.layers.len().saturating_sub(count.saturating_sub(1) as usize);
        let layers: u64 = self.layers[..stay].iter().map(|weights| weights + self.kv_per_layer).sum();
        layers + self.input + if count == 0 { self.output } else { 0 }
    }
}

/// The most layers that fit, with a margin: whatever is used of a device must have room for its part, for computing,
/// and where memory is shared also for what stays with the CPU.
pub(crate) fn layers_that_fit(sizes: &Sizes, rooms: &[Room]) -> u32 {
    let fits = |count: &u32| {
        let taken = sizes.on_devices(rooms, *count);
        taken.iter().zip(rooms).all(|(&taken, room)| {
            let beside = if room.is_shared { sizes.on_cpu(*count) } else { 0 };
            let margin = MARGIN_MIN.max(room.total / MARGIN_PART);
            let needed = taken.saturating_add(beside).saturating_add(sizes.compute).saturating_add(margin);
            taken == 0 || needed <= room.free
        })
    };
    if rooms.is_empty() { 0 } else { (1..=sizes.layer_count()).rev().find(fits).unwrap_or(0) }
}

/// Which device llama.cpp gives the `index`th of `count` offloaded layers (`llama_model_base::load_tensors`): they are
/// split in the proportion of free memory.
fn device_of(index: usize, count: usize, rooms: &[Room]) -> usize {
    let all: f32 = rooms.iter().map(|room| room.reported_free as f32).sum();
    let at = index as f32 / count as f32;
    let mut sum = 0.0;
    let ends = rooms.iter().map(|room| {
        sum += room.reported_free as f32;
        sum / all
    });
    ends.into_iter().position(|end| end > at).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Four layers of 100 MiB and 10 MiB of cache, an output of 50, an input of 40, and 20 for a step.
    fn sizes() -> Sizes {
        Sizes {
            layers: vec![100 * MIB; 4],
            output: 50 * MIB,
            input: 40 * MIB,
            kv_per_layer: 10 * MIB,
            compute: 20 * MIB,
        }
    }

    fn room(free_mib: u64) -> Room {
        let free = free_mib * MIB;
        Room { total: free, reported_free: free, free, is_shared: false }
    }

    fn fit(rooms: &[Room]) -> u32 {
        layers_that_fit(&sizes(), rooms)
    }

    #[test]
    fn the_output_goes_first_then_the_layers_from_the_last() {
        let beside = 256 + 20;
        assert_eq!(fit(&[room(beside + 49)]), 0);
        assert_eq!(fit(&[room(beside + 50)]), 1);
        assert_eq!(fit(&[room(beside + 50 + 109)]), 1);
        assert_eq!(fit(&[room(beside + 50 + 110)]), 2);
        assert_eq!(fit(&[room(beside + 50 + 4 * 110)]), 5);
        assert_eq!(fit(&[room(1 << 20)]), 5);
        assert_eq!(fit(&[]), 0);
    }

    #[test]
    fn layers_of_different_sizes_are_counted_as_they_are() {
        let sizes = Sizes { layers: vec![MIB, 900 * MIB, MIB], ..sizes() };
        let room = room(256 + 20 + 50 + 12);
        assert_eq!(layers_that_fit(&sizes, &[room]), 2, "the last, but not the one before it");
    }

    #[test]
    fn a_large_device_keeps_a_part_of_itself_free() {
        let large =
            Room { total: 16_000 * MIB, reported_free: 1400 * MIB, free: 1400 * MIB, is_shared: false };
        assert_eq!(fit(&[large]), 4, "1000 MiB stay free of 16000");
    }

    #[test]
    fn what_is_promised_already_is_not_there() {
        assert_eq!(fit(&[Room { free: 400 * MIB, ..room(4000) }]), 1);
        assert_eq!(fit(&[Room { free: 800 * MIB, ..room(4000) }]), 5);
        // The split goes by what the driver says, as llama.cpp's: the first device gets three layers, and has no room.
        let rooms = [Room { free: 300 * MIB, ..room(3000) }, room(3000)];
        assert_eq!((sizes().on_devices(&rooms, 5)[0], fit(&rooms)), (330 * MIB, 0));
    }

    #[test]
    fn in_shared_memory_moving_layers_makes_no_room() {
        let all = 4 * 110 + 50 + 40 + 20;
        assert_eq!(fit(&[Room { is_shared: true, ..room(256 + all) }]), 5);
        assert_eq!(fit(&[Room { is_shared: true, ..room(256 + all - 1) }]), 0);
    }

    #[test]
    fn several_devices_get_layers_by_their_free_memory() {
        let rooms = [room(3000), room(1000)];
        // 5 layers: 0, 0.2, 0.4, 0.6 lie below 0.75, and 0.8 above.
        assert_eq!(sizes().on_devices(&rooms, 5), [440 * MIB, 50 * MIB]);
        assert_eq!(fit(&rooms), 5);
        // Equal ones: three layers against one and the output.
        assert_eq!(sizes().on_devices(&[room(500), room(500)], 5), [330 * MIB, 160 * MIB]);
        assert_eq!(fit(&[room(256 + 20 + 330), room(256 + 20 + 330)]), 5);
        // One layer less: two each, the output with the last.
        assert_eq!(fit(&[room(256 + 20 + 329), room(256 + 20 + 329)]), 4);
        assert_eq!(sizes().on_devices(&[room(500), room(500)], 4), [220 * MIB, 160 * MIB]);
    }

    #[test]
    fn more_layers_than_there_are_is_all() {
        assert_eq!(sizes().on_devices(&[room(9)], 99), [490 * MIB]);
    }
}
