//! Control charts that learn anew.

use super::{Scene, recall_below, settings};
use crate::flow::alert::rule::{Basis, Check, Detection, Rule, Side, Watch};
use crate::flow::detect::{Chart, Detector, chart};

/// Learns from four windows; the average follows the newest alone.
fn chart() -> Rule {
    let detector = Detector::Chart(Chart::new(chart::Settings {
        lambda: 1.0,
        limit: 3.0,
        baseline_windows: 4,
        baseline_counts: 100,
        pool_below: 0,
    }));
    let mut rule = recall_below(0.0, Basis::Bound, 1);
    if let Watch::Windows(on) = &mut rule.watch {
        on.check = Check::Detection(Detection {
            detector,
            side: Some(Side::Below),
        });
    }
    rule
}

impl Scene {
    /// Publishes these windows one behind the other, of 200 trials each, and returns what was told.
    fn windows(&mut self, hours: std::ops::Range<i64>, hits: u64) -> Vec<String> {
        for hour in hours {
            self.publish(hour, hits, 200);
            self.wait_until(hour * 60 + 61);
        }
        let story = self.story();
        let phase = |told: &String| told.split(':').next().unwrap_or_default().to_owned();
        story.iter().map(phase).collect()
    }
}

#[test]
fn what_somebody_takes_for_normal_is_over_and_the_chart_learns_it() {
    let mut scene = Scene::of(settings(vec![chart()]));
    assert_eq!(scene.windows(0..6, 180), [""; 0]);
    assert_eq!(scene.windows(6..9, 140), ["firing"]);
    let id = scene.book.active().next().unwrap().1.alert.clone();
    assert!(!scene.book.accept("another", scene.now));
    assert!(scene.book.accept(&id, scene.now));
    let told = scene.story();
    assert_eq!(
        told,
        ["resolved: somebody takes it for normal: the control chart learns anew"]
    );
    assert!(!scene.book.accept(&id, scene.now), "it is over");
    let kept = scene.save();
    scene.resume(&kept);
    assert_eq!(scene.windows(9..20, 140), [""; 0], "the new normal");
    // A label for a window of before changes nothing.
    scene.publish(7, 20, 200);
    scene.wait_until(20 * 60 + 2);
    assert_eq!(scene.story(), [""; 0]);
    assert_eq!(scene.windows(20..21, 80), ["firing"]);
}

#[test]
fn only_a_control_chart_learns_anew() {
    let mut scene = Scene::of(settings(vec![recall_below(0.85, Basis::Bound, 1)]));
    scene.publish(0, 160, 212);
    scene.wait_until(61);
    let id = scene.book.active().next().unwrap().1.alert.clone();
    assert!(!scene.book.accept(&id, scene.now));
    assert_eq!(scene.book.active().count(), 1);
}
