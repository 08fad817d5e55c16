package render

import (
	"fmt"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Services shows services.
func Services() Kind[token.ServiceConfig] {
	type service = token.ServiceConfig
	name := func(s *service) string { return s.Name }
	provisioners := func(s *service) string { return strings.Join(s.Provisioners, " ") }
	return Kind[service]{
		Fields: func(f *Fields, s *service) {
			f.Text("name", s.Name)
			f.Text("display_name", s.DisplayName)
			f.Text("status", serviceStatus(s))
			f.Text("token_type", string(s.TokenType))
			f.Text("realm", s.Realm)
			f.Texts("provisioners", s.Provisioners)
			f.Time("created_at", s.CreatedAt)
			f.Owner("created_by", s.CreatedBy)
		},
		Columns: []Column[service]{
			{Header: "NAME", Text: name},
			{Header: "STATUS", Text: serviceStatus},
			{Header: "TYPE", Text: func(s *service) string { return string(s.TokenType) }},
			{Header: "REALM", Text: func(s *service) string { return s.Realm }},
			{Header: "PROVISIONERS", Text: provisioners, None: "none", Cut: true},
			{Header: "DISPLAY NAME", Text: func(s *service) string { return s.DisplayName }, Wide: true, Cut: true},
			{Header: "CREATED", Time: func(s *service) time.Time { return s.CreatedAt }, Wide: true},
		},
		Name: name,
	}
}

func serviceStatus(s *token.ServiceConfig) string {
	if s.Enabled {
		return "enabled"
	}
	return "disabled"
}

// ServiceSlot is a service with somebody's token for it; the zero token: there
// is none.
type ServiceSlot struct {
	Service token.ServiceConfig
	Token   token.Token
}

// ServiceSlots shows services with somebody's tokens for them.
func ServiceSlots() Kind[ServiceSlot] {
	name := func(s *ServiceSlot) string { return s.Service.Name }
	status := func(s *ServiceSlot) string { return string(s.Token.Status) }
	return Kind[ServiceSlot]{
		Fields: func(f *Fields, s *ServiceSlot) {
			f.Text("service", s.Service.Name)
			f.Text("display_name", s.Service.DisplayName)
			f.Text("token_type", string(s.Service.TokenType))
			if s.Token.ID.IsZero() {
				f.Null("token")
				return
			}
			f.Object("token", func(f *Fields) { tokenFields(f, &s.Token) })
		},
		Columns: []Column[ServiceSlot]{
			{Header: "SERVICE", Text: name},
			{Header: "TYPE", Text: func(s *ServiceSlot) string { return string(s.Service.TokenType) }},
			{Header: "TOKEN", Text: func(s *ServiceSlot) string {
				if s.Token.ID.IsZero() {
					return ""
				}
				return s.Token.ID.String()
			}, None: "none"},
			{Header: "STATUS", Text: status},
			{Header: "CREATED", Time: func(s *ServiceSlot) time.Time { return s.Token.CreatedAt }},
			{Header: "LAST USED", Time: func(s *ServiceSlot) time.Time { return s.Token.LastUsedAt }},
			{Header: "DISPLAY NAME", Text: func(s *ServiceSlot) string { return s.Service.DisplayName }, Wide: true, Cut: true},
		},
		Name: name,
	}
}

// Deliveries shows what provisioners were told of tokens.
func Deliveries() Kind[authority.Delivery] {
	type delivery = authority.Delivery
	status := func(d *delivery) string {
		if d.Pending {
			return "pending"
		}
		return "delivered"
	}
	return Kind[delivery]{
		Fields: func(f *Fields, d *delivery) {
			f.ID("token", d.Token)
			f.Text("provisioner", d.Provisioner)
			f.Owner("owner", d.Owner)
			f.Text("service", d.Service)
			f.Text("status", status(d))
			f.Text("event", d.Event)
			f.Int("attempts", int64(d.Attempts))
			f.Time("last_try", d.LastTry)
			f.Text("error", d.Error)
			f.Time("due", d.Due)
			f.Time("acknowledged_at", d.AcknowledgedAt)
		},
		Columns: []Column[delivery]{
			{Header: "TOKEN", Text: func(d *delivery) string { return d.Token.String() }},
			{Header: "PROVISIONER", Text: func(d *delivery) string { return d.Provisioner }},
			{Header: "OWNER", Text: func(d *delivery) string { return d.Owner.String() }, Cut: true},
			{Header: "SERVICE", Text: func(d *delivery) string { return d.Service }, Cut: true},
			{Header: "STATUS", Text: status},
			{Header: "TRIES", Text: func(d *delivery) string { return fmt.Sprint(d.Attempts) }},
			{Header: "NEXT", Time: func(d *delivery) time.Time { return d.Due }},
			{Header: "ERROR", Text: func(d *delivery) string { return d.Error }, Cut: true},
			{Header: "EVENT", Text: func(d *delivery) string { return d.Event }, Wide: true},
		},
		Name: func(d *delivery) string { return d.Token.String() },
	}
}

// ProvisionerState is how one provisioner is doing.
type ProvisionerState struct {
	Name    string
	Tokens  int // it was told of, or is to be
	Pending int // of these, changes it has not agreed to
	Failing int // of these, tried in vain
	LastTry time.Time
	Error   string // of the last try that failed
}

// Provisioners shows how provisioners are doing.
func Provisioners() Kind[ProvisionerState] {
	type state = ProvisionerState
	name := func(s *state) string { return s.Name }
	return Kind[state]{
		Fields: func(f *Fields, s *state) {
			f.Text("name", s.Name)
			f.Int("tokens", int64(s.Tokens))
			f.Int("pending", int64(s.Pending))
			f.Int("failing", int64(s.Failing))
			f.Time("last_try", s.LastTry)
			f.Text("error", s.Error)
		},
		Columns: []Column[state]{
			{Header: "PROVISIONER", Text: name},
			{Header: "TOKENS", Text: func(s *state) string { return fmt.Sprint(s.Tokens) }},
			{Header: "PENDING", Text: func(s *state) string { return fmt.Sprint(s.Pending) }},
			{Header: "FAILING", Text: func(s *state) string { return fmt.Sprint(s.Failing) }},
			{Header: "LAST FAILURE", Time: func(s *state) time.Time { return s.LastTry }},
			{Header: "ERROR", Text: func(s *state) string { return s.Error }, Cut: true},
		},
		Name: name,
	}
}
