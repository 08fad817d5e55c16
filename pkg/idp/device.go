package idp

import (
	"cmp"
	"context"
	"errors"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Prompt is what somebody needs who logs in on another device.
type Prompt struct {
	URL         string // to open there
	CompleteURL string // the same with the code in it, for a link or a QR code; may be empty
	Code        string // to type in, or to compare with what the page shows
	ExpiresAt   time.Time
}

// maxPollFailures is how often in a row the provider may fail to answer while
// somebody logs in.
const maxPollFailures = 5

// DeviceLogin logs somebody in who has a browser elsewhere: RFC 8628. It shows
// where to go, and waits until that is done, the time is over or ctx ends. That
// the provider or a person there says no is token.ErrRefused.
//
// What it returns is shown to the server once; it is not for keeping.
func (c Client) DeviceLogin(ctx context.Context, show func(Prompt) error) (secret.Secret, error) {
	s, err := c.begin(ctx)
	if err != nil {
		return secret.Secret{}, err
	}
	if s.metadata.DeviceURL == "" {
		return secret.Secret{}, token.Errorf(token.ErrUsage, "the provider %s has no log-in by device", s.Issuer).WithHint("log in with a browser on this machine")
	}
	device, err := s.oauth.DeviceAuth(s.context(ctx), s.audienceOptions()...)
	if err != nil {
		return secret.Secret{}, s.explain(ctx, err)
	}
	prompt, err := s.prompt(device)
	if err != nil {
		return secret.Secret{}, err
	}
	if err := show(prompt); err != nil {
		return secret.Secret{}, err
	}
	t, err := s.poll(ctx, device)
	if err != nil {
		return secret.Secret{}, err
	}
	return s.accept(ctx, t, "")
}

// prompt brings the answer of RFC 8628 §3.2 into bounds: people open its links.
func (s *session) prompt(d *oauth2.DeviceAuthResponse) (Prompt, error) {
	latest := time.Now().Add(loginFor)
	if d.Expiry.IsZero() || d.Expiry.After(latest) {
		d.Expiry = latest
	}
	// x/oauth2 panics at a negative one.
	d.Interval = min(max(cmp.Or(d.Interval, 5), 1), 60)
	if d.DeviceCode == "" || d.UserCode == "" || len(d.UserCode) > 64 || !token.IsFetchable(d.VerificationURI) {
		return Prompt{}, token.Errorf(token.ErrCannotTell, "the provider %s names no usable code and https URL to log in with", s.Issuer)
	}
	if !token.IsFetchable(d.VerificationURIComplete) {
		d.VerificationURIComplete = ""
	}
	return Prompt{d.VerificationURI, d.VerificationURIComplete, d.UserCode, d.Expiry}, nil
}

// poll asks until somebody has logged in. A provider that does not answer is
// asked again (RFC 8628 §3.5): x/oauth2 would give up, and the person who is
// logging in elsewhere would have to begin anew.
func (s *session) poll(ctx context.Context, d *oauth2.DeviceAuthResponse) (*oauth2.Token, error) {
	for failures := 1; ; failures++ {
		t, err := s.oauth.DeviceAccessToken(s.context(ctx), d, s.audienceOptions()...)
		switch {
		case err == nil:
			return t, nil
		case ctx.Err() == nil && !time.Now().Before(d.Expiry):
			return nil, said(expiredToken, "")
		}
		err = s.explain(ctx, err)
		if !errors.Is(err, token.ErrCannotTell) || ctx.Err() != nil || failures == maxPollFailures {
			return nil, err
		}
	}
}
