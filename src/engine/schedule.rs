//! Learning rates: what a step's rate is, and how much of it each layer gets. Spec D.4, E.1, E.2.

use crate::arena::Weight;
use crate::ops::adamw::Group;
use crate::parameters::Parameters;

/// How the learning rate goes up and down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The rate everything is a share of.
    pub peak: f64,
    /// Steps in all (T).
    pub steps: u64,
    /// Steps of warm-up (W).
    pub warmup: u64,
    /// Whether the decay acts during warm-up too, as in Google's code, or begins after it, as in Hugging Face's.
    pub shape: Shape,
}

/// How warm-up and decay are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `(1 - t / T) * min(1, t / W)`.
    Product,
    /// `t / W`, then `(T - t) / (T - W)`.
    Piecewise,
}

impl Schedule {
    /// The rate of the update that follows `step` updates; the first is 0 where there is a warm-up.
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        let (t, total, warmup) = (step as f64, self.steps as f64, self.warmup as f64);
        let up = if step < self.warmup { t / warmup } else { 1.0 };
        let share = match self.shape {
            Shape::Product => (1.0 - t.min(total) / total) * up,
            Shape::Piecewise if step < self.warmup => up,
            Shape::Piecewise => ((total - t) / (total - warmup).max(1.0)).clamp(0.0, 1.0),
        };
        self.peak * share
    }
}

/// What the optimizer does to each part of a model: weight decay where it belongs, and rates that shrink from the head
/// down by `layer_decay`: `layer_decay ^ (L + 2 - depth)`, so the head has all but nothing taken away (spec E.1: the
/// exponent 1 is used by no layer). `None` leaves all rates alike.
#[must_use]
pub fn groups(
    parameters: &Parameters,
    n_layers: usize,
    weight_decay: f32,
    layer_decay: Option<f64>,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for parameter in parameters.list() {
        let below_head = n_layers as i32 + 2 - parameter.depth as i32;
        let multiplier = layer_decay.map_or(1.0, |decay| decay.powi(below_head)) as f32;
        let decay = if parameter.is_decayed() {
            weight_decay
        } else {
            0.0
        };
        let range = parameter.at.range();
        if let Some(last) = groups.last_mut()
            && last.at.range().end == range.start
            && last.multiplier == multiplier
            && last.decay == decay
        {
            let start = last.at.range().start;
            last.at = Weight::new(start, range.end - start);
            continue;
        }
        groups.push(Group {
            at: parameter.at,
            multiplier,
            decay,
        });
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Size;
    use crate::model::heads::{HeadKind, TaskModel};
    use crate::model::pretraining::PretrainingModel;

    #[test]
    fn the_schedule_is_a_product() {
        let schedule = Schedule {
            peak: 2e-4,
            steps: 1_000_000,
            warmup: 10_000,
            shape: Shape::Product,
        };
        assert_eq!(schedule.rate(0), 0.0);
        // Spec D.4: the peak is below the nominal rate, since decay runs during warm-up.
        assert!((schedule.rate(10_000) - 1.98e-4).abs() < 1e-12);
        assert!((schedule.rate(5_000) - 2e-4 * 0.5 * 0.995).abs() < 1e-12);
        assert_eq!(schedule.rate(1_000_000), 0.0);
        let piecewise = Schedule {
            shape: Shape::Piecewise,
            ..schedule
        };
        assert!((piecewise.rate(10_000) - 2e-4).abs() < 1e-12);
        assert!((piecewise.rate(505_000) - 1e-4).abs() < 1e-12);
    }

    #[test]
    fn layers_learn_at_the_multipliers_of_the_specification() {
        let config = Size::Base.config(31_090);
        let model = TaskModel::new(&config, HeadKind::Tokens, 3);
        let groups = groups(&model.parameters, 12, 0.0, Some(0.8));
        let of = |name: &str| {
            let at = model.parameters.find(name).expect("there").at.range().start;
            let group = groups.iter().find(|group| group.at.range().contains(&at));
            group.expect("each is in a group").multiplier
        };
        let near = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-7;
        assert_eq!(of("classifier.weight"), 1.0);
        assert!(near(
            of("electra.encoder.layer.11.output.dense.weight"),
            0.64
        ));
        assert!(near(
            of("electra.encoder.layer.0.output.dense.bias"),
            0.8_f64.powi(13)
        ));
        assert!(near(
            of("electra.embeddings.word_embeddings.weight"),
            0.8_f64.powi(14)
        ));
    }

    /// Spec D.4: kernels and all three tables of embeddings decay; biases and layer normalisation do not.
    #[test]
    fn weight_decay_acts_on_embeddings_and_not_on_biases() {
        let config = Size::Small.config(31_090);
        let model = PretrainingModel::new(&config, &config.generator(0.25, 1.0));
        let groups = groups(&model.parameters, 12, 0.01, None);
        let of = |name: &str| {
            let at = model.parameters.find(name).expect(name).at.range().start;
            let group = groups.iter().find(|group| group.at.range().contains(&at));
            group.expect("each is in a group").decay
        };
        for table in ["word", "position", "token_type"] {
            let name = format!("electra.embeddings.{table}_embeddings.weight");
            assert_eq!(of(&name), 0.01, "{name}");
        }
        assert_eq!(of("electra.embeddings_project.weight"), 0.01);
        assert_eq!(
            of("discriminator_predictions.dense_prediction.weight"),
            0.01
        );
        assert_eq!(of("generator.generator_predictions.dense.weight"), 0.01);
        assert_eq!(of("generator.generator_lm_head.bias"), 0.0);
        assert_eq!(of("electra.embeddings.LayerNorm.weight"), 0.0);
        assert_eq!(of("electra.encoder.layer.3.output.LayerNorm.weight"), 0.0);
        assert_eq!(of("electra.encoder.layer.3.attention.self.query.bias"), 0.0);
        let parts: usize = groups.iter().map(|group| group.at.len()).sum();
        assert_eq!(parts, model.parameters.count());
    }
}
