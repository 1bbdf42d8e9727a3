//! What follows from the numbers of a plan: the front, the choice, and what to say of it. Pure.

use deploy::{Candidate, Plan, Precision};

/// A graph that is not faster by this factor is not faster: times differ as much by chance.
const WORTH: f64 = 1.05;

/// Whether leaving layers of INT8 in floating point could bring something: it loses too much as a whole, but is faster
/// than everything that does not, or is wanted anyway.
pub(super) fn pins_may_pay(tried: &[Candidate], map_budget: f64, wanted: Option<Precision>) -> bool {
    let Some(int8) = tried.iter().find(|candidate| is_whole_int8(candidate)) else { return false };
    let others = tried.iter().filter(|candidate| candidate.loss <= map_budget);
    let fastest = others.map(|candidate| candidate.speed).fold(1.0, f64::max);
    let is_wanted = wanted.map_or(int8.speed >= fastest * WORTH, |wanted| wanted == Precision::Int8);
    int8.loss > map_budget && is_wanted
}

/// Marks the front and what is within the budgets, chooses, and says why.
pub(super) fn judge(plan: &mut Plan) {
    let all = plan.candidates.clone();
    let latency = plan.latency_budget_ms.unwrap_or(f64::INFINITY);
    for candidate in &mut plan.candidates {
        candidate.front = !all.iter().any(|other| dominates(other, candidate));
        candidate.within = candidate.loss <= plan.map_budget && candidate.latency_ms <= latency;
    }
    plan.chosen = choose(&plan.candidates, plan.wanted).map(|candidate| candidate.name.clone());
    plan.conclusions = conclusions(plan);
}

fn dominates(other: &Candidate, candidate: &Candidate) -> bool {
    let as_good = other.speed >= candidate.speed && other.loss <= candidate.loss;
    as_good && (other.speed > candidate.speed || other.loss < candidate.loss)
}

/// Of those within the budgets that are as fast as the fastest one, the most accurate; the plainer one when they are equal.
///
/// Of a wanted precision: the one that is most of that precision.
fn choose(candidates: &[Candidate], wanted: Option<Precision>) -> Option<&Candidate> {
    let within = || candidates.iter().filter(|candidate| candidate.within);
    if let Some(wanted) = wanted {
        let of_it = within().filter(|candidate| candidate.precision == wanted);
        return of_it.min_by_key(|candidate| candidate.pinned.len());
    }
    let fastest = within().map(|candidate| candidate.speed).fold(0.0, f64::max);
    let as_fast = within().filter(|candidate| candidate.speed * WORTH >= fastest);
    // A gain of mAP by a rounding is chance.
    as_fast.min_by(|a, b| a.loss.max(0.0).total_cmp(&b.loss.max(0.0)))
}

fn conclusions(plan: &Plan) -> Vec<String> {
    let mut said = vec![choice(plan)];
    said.extend(unsettled(plan));
    said.extend(int8(plan));
    said.extend(fp16(plan));
    said
}

fn choice(plan: &Plan) -> String {
    let Some(chosen) = plan.choice() else {
        let most = plan.latency_budget_ms.map_or(String::new(), |most| format!(" in {most:.3} ms"));
        let accurate = plan.candidates.iter().filter(|candidate| candidate.loss <= plan.map_budget);
        let fastest = accurate.min_by(|a, b| a.latency_ms.total_cmp(&b.latency_ms));
        let fastest = fastest.map_or(String::new(), |fastest| {
            format!(
                "; the fastest that is accurate enough, {}, takes {:.2} ms",
                fastest.name, fastest.latency_ms
            )
        });
        let wanted = plan.wanted.map_or(String::new(), |wanted| format!(" of {wanted}"));
        return format!("Nothing{wanted} is within the budgets{most}{fastest}.");
    };
    if chosen.precision == Precision::Fp32 && plan.wanted.is_none() {
        return format!("fp32 stays: on {} nothing that is accurate enough is faster.", plan.backend);
    }
    format!(
        "{} is chosen{}: {:.2} times as fast as fp32 on {}, {} where {} may be.",
        chosen.name,
        plan.wanted.map_or(String::new(), |wanted| format!(", as {wanted} is wanted")),
        chosen.speed,
        plan.backend,
        lost(chosen),
        plan.map_budget
    )
}

/// Whether the images are too few to be sure of the choice.
fn unsettled(plan: &Plan) -> Option<String> {
    let chosen = plan.choice()?;
    (chosen.loss_high > plan.map_budget).then(|| {
        format!(
            "{} images do not settle it: the loss of {} is between {:.4} and {:.4} (95 %); more images say more.",
            plan.images, chosen.name, chosen.loss_low, chosen.loss_high
        )
    })
}

fn int8(plan: &Plan) -> Option<String> {
    let whole = plan.candidates.iter().find(|candidate| is_whole_int8(candidate))?;
    let is_chosen = plan.choice().is_some_and(|chosen| chosen.precision == Precision::Int8);
    if is_chosen && whole.within {
        return None;
    }
    let pinned = plan.candidates.iter().filter(|c| c.precision == Precision::Int8 && !c.pinned.is_empty());
    let best = pinned.min_by(|a, b| a.loss.total_cmp(&b.loss));
    if is_chosen || plan.wanted.is_some() {
        return (!whole.within).then(|| format!("INT8 as a whole: {}.", lost(whole)));
    }
    if whole.speed < WORTH {
        return Some(format!(
            "INT8 is not worth it on {}: {:.2} times as fast as fp32, {}.",
            plan.backend,
            whole.speed,
            lost(whole)
        ));
    }
    let pins = match best {
        _ if whole.loss <= plan.map_budget => String::new(),
        Some(best) => format!(", and {} still {}", best.name, lost(best)),
        None => ", and no layer was left out because something else is as fast".to_owned(),
    };
    Some(format!(
        "INT8 is not worth it on {}: {:.2} times as fast as fp32, but {} as a whole{pins}.",
        plan.backend,
        whole.speed,
        lost(whole)
    ))
}

fn fp16(plan: &Plan) -> Option<String> {
    let halves = || plan.candidates.iter().filter(|candidate| candidate.precision == Precision::Fp16);
    let fastest = halves()
        .map(|candidate| candidate.speed)
        .fold(None, |best, speed| Some(best.map_or(speed, |best: f64| best.max(speed))))?;
    (fastest < WORTH)
        .then(|| format!("fp16 brings nothing on {}: {fastest:.2} times as fast as fp32.", plan.backend))
}

fn lost(candidate: &Candidate) -> String {
    if candidate.loss >= 5e-5 { format!("{:.4} mAP lost", candidate.loss) } else { "no mAP lost".into() }
}

fn is_whole_int8(candidate: &Candidate) -> bool {
    candidate.precision == Precision::Int8 && candidate.pinned.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, precision: Precision, loss: f64, speed: f64) -> Candidate {
        Candidate {
            name: name.into(),
            precision,
            pinned: if name.contains('+') { vec!["layer".into()] } else { Vec::new() },
            flops_share: None,
            bytes: 1,
            map: 0.7 - loss,
            loss,
            loss_low: loss - 0.001,
            loss_high: loss + 0.001,
            latency_ms: 10.0 / speed,
            speed,
            front: false,
            within: false,
        }
    }

    fn judged(candidates: &[(&str, Precision, f64, f64)], latency: Option<f64>) -> Plan {
        let of = |(name, precision, loss, speed): &(&str, Precision, f64, f64)| {
            candidate(name, *precision, *loss, *speed)
        };
        let mut plan = Plan {
            backend: "embedded".into(),
            version: "1".into(),
            device: "cpu".into(),
            map_budget: 0.005,
            latency_budget_ms: latency,
            wanted: None,
            annotations: "instances.json".into(),
            images: 100,
            candidates: candidates.iter().map(of).collect(),
            chosen: None,
            conclusions: Vec::new(),
            sensitivity: Vec::new(),
        };
        judge(&mut plan);
        plan
    }

    const FP32: (&str, Precision, f64, f64) = ("fp32", Precision::Fp32, 0.0, 1.0);

    fn front(plan: &Plan) -> Vec<&str> {
        plan.candidates.iter().filter(|c| c.front).map(|c| c.name.as_str()).collect()
    }

    #[test]
    fn the_fastest_within_the_budget_wins() {
        let plan = judged(
            &[FP32, ("fp16", Precision::Fp16, 0.0005, 1.4), ("int8", Precision::Int8, 0.004, 2.0)],
            None,
        );
        assert_eq!(plan.chosen.as_deref(), Some("int8"));
        assert_eq!(front(&plan), ["fp32", "fp16", "int8"]);
        assert_eq!(plan.conclusions.len(), 1, "{:?}", plan.conclusions);
    }

    #[test]
    fn what_is_as_fast_and_more_accurate_wins() {
        let plan = judged(
            &[FP32, ("fp16", Precision::Fp16, 0.0005, 1.97), ("int8", Precision::Int8, 0.004, 2.0)],
            None,
        );
        assert_eq!(plan.chosen.as_deref(), Some("fp16"));
        // A gain is chance: the plainer one stays.
        let plan = judged(&[FP32, ("fp16", Precision::Fp16, -0.002, 1.03)], None);
        assert_eq!(plan.chosen.as_deref(), Some("fp32"));
        assert!(plan.conclusions[0].starts_with("fp32 stays"));
        assert!(plan.conclusions[1].starts_with("fp16 brings nothing"));
    }

    #[test]
    fn int8_that_is_slow_or_wrong_is_said_to_be_not_worth_it() {
        let slow = judged(&[FP32, ("int8", Precision::Int8, 0.001, 0.8)], None);
        assert!(slow.conclusions.iter().any(|said| said.contains("INT8 is not worth it on embedded: 0.80")));
        let whole = ("int8", Precision::Int8, 0.02, 2.0);
        let wrong = judged(&[FP32, whole, ("int8 + 1 layer float", Precision::Int8, 0.01, 1.9)], None);
        assert_eq!(wrong.chosen.as_deref(), Some("fp32"));
        let said = wrong.conclusions.join(" ");
        assert!(
            said.contains("0.0200 mAP lost as a whole, and int8 + 1 layer float still 0.0100 mAP lost"),
            "{said}"
        );
        let kept = judged(&[FP32, whole, ("int8 + 2 layers float", Precision::Int8, 0.004, 1.8)], None);
        assert_eq!(kept.chosen.as_deref(), Some("int8 + 2 layers float"));
        assert!(kept.conclusions.join(" ").contains("INT8 as a whole: 0.0200 mAP lost."));
    }

    #[test]
    fn a_wanted_precision_is_chosen_whatever_its_speed() {
        let candidates = [
            FP32,
            ("int8", Precision::Int8, 0.02, 0.7),
            ("int8 + 1 layer float", Precision::Int8, 0.004, 0.7),
        ];
        let mut plan = judged(&candidates, None);
        assert_eq!(plan.chosen.as_deref(), Some("fp32"));
        plan.wanted = Some(Precision::Int8);
        judge(&mut plan);
        assert_eq!(plan.chosen.as_deref(), Some("int8 + 1 layer float"));
        assert!(plan.conclusions[0].contains("is chosen, as int8 is wanted"), "{:?}", plan.conclusions);
        plan.map_budget = 0.001;
        judge(&mut plan);
        assert_eq!(plan.chosen, None);
        assert!(plan.conclusions[0].starts_with("Nothing of int8"), "{:?}", plan.conclusions);
    }

    #[test]
    fn dominated_candidates_are_not_on_the_front() {
        let plan = judged(
            &[FP32, ("fp16", Precision::Fp16, 0.001, 0.7), ("int8", Precision::Int8, 0.004, 2.0)],
            None,
        );
        assert_eq!(front(&plan), ["fp32", "int8"]);
    }

    #[test]
    fn a_latency_that_nothing_keeps_is_said() {
        let plan = judged(&[FP32, ("int8", Precision::Int8, 0.004, 2.0)], Some(4.0));
        assert_eq!(plan.chosen, None);
        assert!(plan.conclusions[0].contains("int8, takes 5.00 ms"), "{:?}", plan.conclusions);
        let plan = judged(&[FP32, ("int8", Precision::Int8, 0.004, 2.0)], Some(6.0));
        assert_eq!(plan.chosen.as_deref(), Some("int8"));
    }

    #[test]
    fn too_few_images_are_said() {
        let plan = judged(&[FP32, ("int8", Precision::Int8, 0.0045, 2.0)], None);
        assert!(plan.conclusions[1].contains("do not settle it"), "{:?}", plan.conclusions);
    }

    #[test]
    fn layers_are_left_out_only_where_that_can_pay() {
        let int8 = candidate("int8", Precision::Int8, 0.02, 2.0);
        let fp32 = candidate("fp32", Precision::Fp32, 0.0, 1.0);
        let fp16 = candidate("fp16", Precision::Fp16, 0.0, 2.1);
        assert!(pins_may_pay(&[fp32.clone(), int8.clone()], 0.005, None));
        assert!(!pins_may_pay(&[fp32.clone(), int8.clone()], 0.03, None), "it is within the budget");
        assert!(!pins_may_pay(&[fp32.clone(), fp16.clone(), int8.clone()], 0.005, None), "fp16 is as fast");
        let slow = candidate("int8", Precision::Int8, 0.02, 0.9);
        assert!(!pins_may_pay(&[fp32.clone(), slow.clone()], 0.005, None), "it is slow");
        assert!(pins_may_pay(&[fp32.clone(), slow.clone()], 0.005, Some(Precision::Int8)), "it is wanted");
        assert!(!pins_may_pay(&[fp32, slow], 0.005, Some(Precision::Fp16)), "fp16 is wanted");
    }
}
