package orphans

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// seal sets the digest.
func (p *Plan) seal() error {
	sum, err := p.sum()
	p.Digest = sum
	return err
}

// sum is SHA-256 over the plan as JSON. It is no signature: it finds a plan that
// was cut off or changed by hand, and names the plan in the audit log.
func (p *Plan) sum() (string, error) {
	bare := *p
	bare.Digest = ""
	text, err := json.Marshal(bare)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// Check says what is wrong with a plan as such, whoever made it.
func (p *Plan) Check() error {
	sum, err := p.sum()
	if err != nil {
		return err
	}
	wrong := func(format string, args ...any) error {
		return token.Errorf(token.ErrUsage, "the plan cannot be used: "+format, args...).WithHint("make a new one: tokenctl purge-orphans --plan FILE")
	}
	if sum != p.Digest {
		return wrong("it is not as it was made")
	}
	owners, ids, realms := map[token.Owner]bool{}, map[token.ID]bool{}, map[string]bool{}
	for _, r := range p.Realms {
		realms[r.Name] = true
	}
	for _, o := range p.Orphans {
		if owners[o.Owner] || !realms[o.Owner.Realm] {
			return wrong("%s is in it twice, or not of its realms", o.Owner)
		}
		owners[o.Owner] = true
		for _, t := range o.Tokens {
			if ids[t.ID] || t.Revision == 0 {
				return wrong("the token %s is in it twice, or without a revision", t.ID)
			}
			ids[t.ID] = true
		}
	}
	return nil
}

// Tokens is how many tokens the plan would remove.
func (p *Plan) Tokens() (n int) {
	for _, o := range p.Orphans {
		n += len(o.Tokens)
	}
	return n
}

// Over says why a purge of this plan would be stopped, nil if it would not: a
// token.ErrUnsafe.
func (p *Plan) Over(c Consent) error {
	for _, r := range p.Realms {
		if err := breaker(r, c); err != nil {
			return err
		}
	}
	return nil
}

// reason is what tombstones and the audit log say. It names the plan, so that
// the same purge again knows what it has done already.
func (p *Plan) reason() string {
	return "orphan purge " + p.Digest[:16] + ": the directory does not know the owner"
}

// ReadPlan reads a plan that was written as JSON, strictly.
func ReadPlan(text []byte) (p Plan, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err = dec.Decode(&p); err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = token.Errorf(token.ErrUsage, "something follows it")
		}
	}
	if err != nil {
		return Plan{}, token.Errorf(token.ErrUsage, "this is no plan of a purge: %w", err).WithHint("tokenctl purge-orphans --plan FILE makes one")
	}
	return p, p.Check()
}
