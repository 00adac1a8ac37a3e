// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What a read-ahead should be: the model's answer, unless a change did harm.
 *
 * A change is on trial for a few windows.  If reading was slower in each of them than in the window before it, the
 * change is taken back, and the model is not asked for a while, longer each time.  Where another kind of reading began
 * meanwhile, nothing can be said.
 */
#include "kml/predictor.h"
#include "readahead.h"

#define TRIAL_WINDOWS 3
#define LOSS KML_FX(-0.152) /* log2 of 0.9 */
#define HOLD_WINDOWS 32u
#define HOLD_DOUBLED_MOST 6u

/* Leave it as it is for a while. */
void kra_hold(struct kra_tuned *tuned)
{
	tuned->hold = HOLD_WINDOWS << min(tuned->taken_back, HOLD_DOUBLED_MOST);
	tuned->state = 0;
	tuned->trial.kib_before = 0;
}

/* Whether the change stays open to question; sets *kib to what it should be. */
static bool still_on_trial(struct kra_tuned *tuned, const kml_fx *features, u32 *kib)
{
	struct kra_trial *trial = &tuned->trial;

	*kib = tuned->kib;
	if (!trial->kib_before)
		return false;
	if (!kml_readahead_alike(trial->before, features) || kml_readahead_gain(trial->before, features) > LOSS) {
		trial->kib_before = 0;
		return false;
	}
	if (++trial->windows == TRIAL_WINDOWS) {
		*kib = trial->kib_before;
		kra_hold(tuned);
		tuned->taken_back++;
		kra_counters.taken_back++;
	}
	return true;
}

u32 kra_decide(struct kra_tuned *tuned, const kml_fx *features)
{
	kml_fx output;
	u32 kib;

	kra_counters.windows++;
	if (still_on_trial(tuned, features, &kib))
		return kib;
	if (tuned->hold) {
		tuned->hold--;
		return tuned->kib;
	}
	if (kml_predict(kra_predictor, features, &output)) {
		kra_counters.without_model++;
		return tuned->kib;
	}
	kra_counters.predictions++;
	kib = kml_readahead_choose(output, tuned->kib, kra_calm, &tuned->state);
	if (kib != tuned->kib) {
		kra_counters.wanted++;
		if (kra_mode == KRA_ACT) {
			tuned->trial.kib_before = tuned->kib;
			tuned->trial.windows = 0;
			memcpy(tuned->trial.before, features, sizeof(tuned->trial.before));
		}
	}
	return kib;
}
