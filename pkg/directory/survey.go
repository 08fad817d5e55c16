package directory

import (
	"context"
	"iter"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// surveyBatch is how many owners a Survey holds and asks about at a time.
const surveyBatch = 1000

// Findings are what a whole [Survey] has found.
type Findings struct {
	Asked, Present int
	Disabled       int       // of those present
	Absent         []Verdict // whose tokens are orphans, in the order asked
	Doubts         []Verdict // on whom it cannot tell: a purge removes nothing while there are any
}

// Survey asks a directory about everybody, and is the only way to learn of
// somebody that their tokens are orphans. Either all was answered, or there is
// an error and nothing is known: an interrupted survey has no half of a result
// that could be acted on. An error of asked comes back as it is, all others are
// token.ErrCannotTell.
//
// An answer in which nobody exists proves a wrong filter or lacking rights as
// well as it proves that all have left. So somebody must be there: the canary,
// for which [Directory.Presence] looks in every session, or without one at
// least one of those asked about, who is the person that we know: where everybody
// is another now, the directory was made anew.
//
// It holds a thousand owners at a time, and its findings.
func Survey(ctx context.Context, d Directory, asked iter.Seq2[Known, error]) (Findings, error) {
	var f Findings
	batch := make([]Known, 0, surveyBatch)
	for k, err := range asked {
		if err != nil {
			return Findings{}, err
		}
		if batch = append(batch, k); len(batch) == cap(batch) {
			if err := f.add(ctx, d, batch); err != nil {
				return Findings{}, err
			}
			batch = batch[:0]
		}
	}
	if err := f.add(ctx, d, batch); err != nil {
		return Findings{}, err
	}
	if len(f.Absent) > 0 && f.Present == 0 && d.Canary().IsZero() {
		return Findings{}, token.Errorf(token.ErrCannotTell, "the directory %s knows none of the %d owners asked about, and no canary shows that it answers at all", d.Realm(), f.Asked).
			WithHint("name a user who always exists as its canary")
	}
	return f, nil
}

// add asks about a batch.
func (f *Findings) add(ctx context.Context, d Directory, batch []Known) error {
	if len(batch) == 0 {
		return nil
	}
	owners := make([]token.Owner, len(batch))
	for i, k := range batch {
		owners[i] = k.Owner
	}
	verdicts, err := d.Presence(ctx, owners)
	if err != nil {
		return err
	}
	if len(verdicts) != len(batch) {
		return token.Errorf(token.ErrCannotTell, "the directory %s gave %d answers to %d questions", d.Realm(), len(verdicts), len(batch))
	}
	for i, v := range verdicts {
		if v.Owner != batch[i].Owner {
			return token.Errorf(token.ErrCannotTell, "the directory %s answered on %s when asked about %s", d.Realm(), v.Owner, batch[i].Owner)
		}
		f.Asked++
		switch v = v.Of(batch[i]); v.State {
		case Present:
			f.Present++
			if v.Disabled {
				f.Disabled++
			}
		case Absent:
			f.Absent = append(f.Absent, v)
		default:
			f.Doubts = append(f.Doubts, v)
		}
	}
	return nil
}
