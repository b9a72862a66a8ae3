//! Calculates how many layers fit on which devices, from sizes in bytes and without access to a device.

/// Memory of a model and its engine, by layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Weights of each layer, in order.
    pub layers: Vec<u64>,
    /// Weights of the output, which counts as an additional layer.
    pub output: u64,
    /// Weights that always stay on the CPU: the input embedding.
    pub input: u64,
    /// KV cache of one layer, for all requests.
    pub(crate) kv_per_layer: u64,
    /// Additional memory that each used device needs to compute a step.
    pub compute: u64,
}

/// The memory of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Total memory.
    pub(crate) total: u64,
    /// Free memory that the driver reports: llama.cpp splits layers in proportion to it.
    pub(crate) reported_free: u64,
    /// The part of it that is not allocated to models placed before.
    pub free: u64,
    /// Whether the device uses the machine's memory, so that layers on the CPU take from it as well.
    pub(crate) is_shared: bool,
}

/// Memory of a device that is left free: for its driver, for other programs (a desktop), and for what the estimate of
/// a step's memory leaves out.
const MARGIN_MIN: u64 = 256 << 20;
/// The same as a divisor of the total memory: drivers need more on larger devices.
const MARGIN_PART: u64 = 16;

impl Sizes {
    /// Number of layers, the output included.
    pub(crate) fn layer_count(&self) -> u32 {
        self.layers.len() as u32 + 1
    }

    /// Weights and cache on each device if the last `count` layers, in llama.cpp's order, are offloaded.
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

    /// The part of [`Sizes::on_devices`] that is cache.
    pub(crate) fn kv_on_devices(&self, rooms: &[Room], count: u32) -> Vec<u64> {
        let cache_alone = Self { layers: vec![0; self.layers.len()], output: 0, ..self.clone() };
        cache_alone.on_devices(rooms, count)
    }

    /// Memory on the CPU if the last `count` layers are offloaded.
    fn on_cpu(&self, count: u32) -> u64 {
        let stay = self.layers.len().saturating_sub(count.saturating_sub(1) as usize);
        let layers: u64 = self.layers[..stay].iter().map(|weights| weights + self.kv_per_layer).sum();
        layers + self.input + if count == 0 { self.output } else { 0 }
    }
}

/// Returns the largest number of layers that fits with a margin: each used device must have room for its layers, for
/// computing a step and, where memory is shared, also for what stays on the CPU.
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

/// Returns the device to which llama.cpp assigns the `index`th of `count` offloaded layers
/// (`llama_model_base::load_tensors`): it splits them in proportion to free memory.
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

    /// Four layers of 100 MiB with 10 MiB of cache each, an output of 50, an input of 40, and 20 for a step.
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
    fn what_is_reserved_already_is_not_free() {
        // 256 MiB stay free and 20 are for a step: the output fits, but no layer.
        assert_eq!(fit(&[Room { free: 400 * MIB, ..room(4000) }]), 1);
        assert_eq!(fit(&[Room { free: 800 * MIB, ..room(4000) }]), 5);
        // The split follows the reported free memory, as llama.cpp's does: the first device gets three layers, which
        // do not fit.
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
        // 5 layers: 0, 0.2, 0.4, 0.6 are below 0.75, and 0.8 is above.
        assert_eq!(sizes().on_devices(&rooms, 5), [440 * MIB, 50 * MIB]);
        assert_eq!(fit(&rooms), 5);
        // Equal devices: three layers on one, one layer and the output on the other.
        assert_eq!(sizes().on_devices(&[room(500), room(500)], 5), [330 * MIB, 160 * MIB]);
        assert_eq!(fit(&[room(256 + 20 + 330), room(256 + 20 + 330)]), 5);
        // One layer less: two on each, the output with the last.
        assert_eq!(fit(&[room(256 + 20 + 329), room(256 + 20 + 329)]), 4);
        assert_eq!(sizes().on_devices(&[room(500), room(500)], 4), [220 * MIB, 160 * MIB]);
    }

    #[test]
    fn more_layers_than_there_are_is_all() {
        assert_eq!(sizes().on_devices(&[room(9)], 99), [490 * MIB]);
    }
}
