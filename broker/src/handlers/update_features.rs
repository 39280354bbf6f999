//! UpdateFeatures (KIP-584, KIP-778): the levels that the cluster's features are finalised at.
//!
//! They are finalised at the first start, each at the newest level, and stay there: to ask for that level succeeds, and
//! every other is refused with the reason.

use super::wire::text;
use esker_protocol::features::{self, Feature};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Answers an UpdateFeatures request: with an error for the first update that cannot be, or with none.
pub fn handle(request: &UpdateFeaturesRequest, version: i16) -> UpdateFeaturesResponse {
    let refused = request.feature_updates.iter().find_map(|update| {
        refusal(update, version).map(|reason| {
            format!(
                "The update failed for all features since the following feature had an error: Invalid update version \
                 {} for feature {}. {reason}",
                update.max_version_level,
                update.feature.as_str()
            )
        })
    });
    if let Some(message) = refused {
        return UpdateFeaturesResponse::default()
            .with_error_code(ResponseError::InvalidUpdateVersion.code())
            .with_error_message(Some(text(message)));
    }
    let answer = UpdateFeaturesResponse::default().with_error_message(None);
    if version >= 2 {
        return answer;
    }
    let results = request.feature_updates.iter();
    let results = results
        .map(|update| UpdatableFeatureResult::default().with_feature(update.feature.clone()).with_error_message(None));
    answer.with_results(results.collect())
}

/// Why a feature cannot be brought to a level; `None` if it is there.
fn refusal(update: &FeatureUpdateKey, version: i16) -> Option<String> {
    let kind = match version {
        0 if update.allow_downgrade => SAFE_DOWNGRADE,
        0 => UPGRADE,
        _ => update.upgrade_type,
    };
    if ![UPGRADE, SAFE_DOWNGRADE, UNSAFE_DOWNGRADE].contains(&kind) {
        return Some("The controller does not support the given upgrade type.".to_owned());
    }
    let level = update.max_version_level;
    if level < 0 {
        return Some("A feature version cannot be less than 0.".to_owned());
    }
    let Some(feature) = features::find(&update.feature) else {
        return Some("The controller does not support this feature.".to_owned());
    };
    let Feature { lowest, highest, finalised, .. } = *feature;
    if !(lowest..=highest).contains(&level) {
        return Some(format!("The controller only supports versions {lowest}-{highest}"));
    }
    if level < finalised && kind == UPGRADE {
        let reason = "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
                      unsafe downgrade.";
        return Some(reason.to_owned());
    }
    if level > finalised && kind != UPGRADE {
        return Some("Can't downgrade to a newer version.".to_owned());
    }
    (level != finalised).then(|| format!("The feature stays at {finalised}, at which it was finalised."))
}
