package secret

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
)

// Argon2 are the costs of argon2id (RFC 9106 §3.1).
type Argon2 struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8  // lanes
}

// DefaultArgon2 is what OWASP asks for at least: 19 MiB, two passes, one lane.
// One hash takes about 25 ms.
var DefaultArgon2 = Argon2{Memory: 19456, Time: 2, Threads: 1}

// Validate says what is wrong with costs outside the limits: at least 8 KiB a
// lane (RFC 9106 §3.1), at most 256 MiB, 16 passes and 16 lanes. A cost stands in
// the verifier, and nobody who can write to the database shall use up our
// memory.
func (a Argon2) Validate() error {
	switch {
	case a.Threads < 1 || a.Threads > 16:
		return fmt.Errorf("argon2id with %d lanes", a.Threads)
	case a.Time < 1 || a.Time > 16:
		return fmt.Errorf("argon2id with %d passes", a.Time)
	case a.Memory < 8*uint32(a.Threads) || a.Memory > 256<<10:
		return fmt.Errorf("argon2id with %d KiB", a.Memory)
	}
	return nil
}

// hash computes argon2id.
func (a Argon2) hash(s Secret, salt []byte) []byte {
	return argon2.IDKey(view(s.Reveal()), salt, a.Time, a.Memory, a.Threads, sha256.Size)
}

// HasherOptions are the limits of a [Hasher]. A zero field means its default.
type HasherOptions struct {
	// Slots is how many slow hashes run at once, each with Params.Memory: as many
	// as there are processors, at most 4. More would be no faster, and cost
	// memory twice: for the hashes, and for what is not collected yet.
	Slots int
	// Queue is how many more wait for a slot: 256; negative: none.
	Queue int
	// Remember is how long a slow check that succeeded is not repeated:
	// 5 minutes; negative: always repeated.
	Remember time.Duration
	// MaxRemembered is how many such successes are kept: 10000, about 1 MB.
	MaxRemembered int
	Now           func() time.Time // time.Now
	Params        Argon2           // of new slow verifiers: DefaultArgon2
}

// Hasher makes verifiers and checks secrets against them. Any number of
// goroutines may use one.
type Hasher struct {
	options HasherOptions
	slots   chan struct{}
	waiting atomic.Int64
	// The keys, and the successes that were seen under them.
	state atomic.Pointer[hasherState]
}

type hasherState struct {
	keys   *Keys
	memory *memory
}

// NewHasher returns a hasher that uses keys. It panics if the options' Params
// fail [Argon2.Validate].
func NewHasher(keys *Keys, o HasherOptions) *Hasher {
	o.Slots = cmp.Or(max(o.Slots, 0), min(runtime.GOMAXPROCS(0), 4))
	if o.Queue == 0 {
		o.Queue = 256
	}
	if o.Remember == 0 {
		o.Remember = 5 * time.Minute
	}
	o.MaxRemembered = cmp.Or(max(o.MaxRemembered, 0), 10000)
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Params = cmp.Or(o.Params, DefaultArgon2)
	if err := o.Params.Validate(); err != nil {
		panic("secret: " + err.Error())
	}
	h := &Hasher{options: o, slots: make(chan struct{}, o.Slots)}
	h.SetKeys(keys)
	return h
}

// SetKeys makes the hasher use other keys, from its next call on, and forget
// the successes that it remembers.
func (h *Hasher) SetKeys(keys *Keys) {
	h.state.Store(&hasherState{keys: keys, memory: newMemory(h.options)})
}

// minFast is the shortest text that [Hasher.Fast] takes: 19 characters of
// base62 have 113 bits.
const minFast = 19

// Fast makes a verifier of the fast scheme under the current key. Only secrets
// of at least 112 bits of entropy are safe with it. As a guard against the
// mistake that would leave short ones open to guessing, Fast panics if the
// text is under 19 characters, and also if use has no kind.
func (h *Hasher) Fast(use Use, s Secret) Verifier {
	use.check()
	if s.Len() < minFast {
		panic("secret: Fast of a short secret")
	}
	keys := h.state.Load().keys
	digest := keys.byNumber[keys.current].fast(use, s)
	return fastVerifier(keys.current, &digest)
}

// fast returns the digest of the fast scheme.
func (m *macs) fast(use Use, s Secret) [sha256.Size]byte {
	state := m.take()
	state.message = appendUse(state.message, fastScheme, use)
	state.message = appendString(state.message, s.Reveal())
	return m.finish(state)
}

// slow returns the digest of the slow scheme.
func (m *macs) slow(use Use, stretched []byte) [sha256.Size]byte {
	state := m.take()
	state.message = appendUse(state.message, slowScheme, use)
	state.message = appendString(state.message, stretched)
	return m.finish(state)
}

func (u Use) check() {
	if u.Kind == "" {
		panic("secret: a use without a kind")
	}
}

// Slow makes a verifier of the slow scheme under the current key, for secrets
// that could be guessed: passwords, [Plain08], [Plain15]. It takes some 25 ms
// after it got a slot. The error is [ErrBusy], that of ctx, or [ErrMalformed]
// for an empty secret. It panics if use has no kind.
func (h *Hasher) Slow(ctx context.Context, use Use, s Secret) (Verifier, error) {
	use.check()
	if s.IsZero() {
		return nil, fmt.Errorf("%w: it is empty", ErrMalformed)
	}
	p := parts{params: h.options.Params}
	rand.Read(p.salt[:]) // never fails: crypto/rand ends the program instead
	stretched, err := h.stretch(ctx, p.params, s, p.salt[:])
	if err != nil {
		return nil, err
	}
	keys := h.state.Load().keys
	p.key = keys.current
	p.digest = keys.byNumber[p.key].slow(use, stretched)
	return slowVerifier(&p), nil
}

// stretch computes argon2id when there is a slot for it.
func (h *Hasher) stretch(ctx context.Context, params Argon2, s Secret, salt []byte) ([]byte, error) {
	if err := h.acquire(ctx); err != nil {
		return nil, err
	}
	defer func() { <-h.slots }()
	return params.hash(s, salt), nil
}

// acquire waits for a slot, unless too many wait already.
func (h *Hasher) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > int64(h.options.Queue) {
		return ErrBusy
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Result is the outcome of a check that could be made.
type Result struct {
	OK bool // it is the secret
	// Outdated: it is the secret, and the verifier was made with an older key
	// or with other costs than now. The caller makes and stores a new one.
	Outdated bool
}

// Check tells whether v was made for use and s. A wrong secret is no error, but
// a Result that is not OK. Digests are compared whole, in constant time. A slow
// verifier costs a slow hash, whether the secret is right or wrong; only a
// success may be remembered, and then for that secret, use, verifier and keys.
//
// Errors, which mean that it could not be told: [ErrVerifier]; [ErrUnknownKey],
// after which the caller may read the key file again; of a slow verifier also
// [ErrBusy] and that of ctx.
func (h *Hasher) Check(ctx context.Context, use Use, s Secret, v Verifier) (Result, error) {
	state := h.state.Load()
	var seen seen
	if v.Slow() {
		seen = state.memory.key(use, s, v)
		if result, ok := state.memory.recall(seen); ok {
			return result, nil
		}
	}
	p, err := v.parse()
	if err != nil {
		return Result{}, err
	}
	key, err := state.keys.find(p.key)
	if err != nil {
		return Result{}, err
	}
	outdated := p.key != state.keys.current
	if !v.Slow() {
		return verdict(key.fast(use, s), p.digest, outdated), nil
	}
	outdated = outdated || p.params != h.options.Params
	stretched, err := h.stretch(ctx, p.params, s, p.salt[:])
	if err != nil {
		return Result{}, err
	}
	result := verdict(key.slow(use, stretched), p.digest, outdated)
	if result.OK {
		state.memory.add(seen, result)
	}
	return result, nil
}

// Remembered reports whether a [Hasher.Check] of a slow verifier would succeed
// without a slow hash. False says nothing of the secret.
func (h *Hasher) Remembered(use Use, s Secret, v Verifier) bool {
	memory := h.state.Load().memory
	_, ok := memory.recall(memory.key(use, s, v))
	return ok
}

// verdict compares whole digests in constant time.
func verdict(got, want [sha256.Size]byte, outdated bool) Result {
	ok := subtle.ConstantTimeCompare(got[:], want[:]) == 1
	return Result{OK: ok, Outdated: ok && outdated}
}

// Waste costs what a check of a slow verifier costs, and has its errors. It is
// for an owner who does not exist, so that the time tells nobody who does.
func (h *Hasher) Waste(ctx context.Context) error {
	var salt [saltLen]byte
	_, err := h.stretch(ctx, h.options.Params, FromText("nobody"), salt[:])
	return err
}
