package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tokenctl/tokenctl/pkg/terminal"
)

// yamlEncoder writes one mapping, or a sequence of them.
type yamlEncoder[T any] struct {
	kind   Kind[T]
	single bool
	begun  bool
	fields Fields
	object []byte
}

func (e *yamlEncoder[T]) add(out *output, v *T) error {
	e.begun = true
	e.object = appendObject(&e.fields, e.object[:0], &e.kind, v)
	node, err := yamlNode(e.object)
	if err != nil {
		return err
	}
	if !e.single {
		// Sequences of one, written one after the other, are one sequence.
		node = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{node}}
	}
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(node), enc.Close()); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	out.buf = appendVisible(out.buf, text.Bytes(), appendYAMLRune)
	return nil
}

func (e *yamlEncoder[T]) end(out *output, whole bool) error {
	if !e.begun && whole {
		out.buf = append(out.buf, "[]\n"...)
	}
	return nil
}

// yamlNode is a JSON value in YAML, with the members of objects in their order.
func yamlNode(raw json.RawMessage) (*yaml.Node, error) {
	switch raw[0] {
	case '{':
		node := &yaml.Node{Kind: yaml.MappingNode}
		members, err := objectMembers(raw)
		for _, m := range members {
			value, err := yamlNode(m.value)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, yamlText(m.name), value)
		}
		return node, err
	case '[':
		node := &yaml.Node{Kind: yaml.SequenceNode}
		elements, err := arrayElements(raw)
		for _, element := range elements {
			value, err := yamlNode(element)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, value)
		}
		return node, err
	case '"':
		return yamlText(plainText(raw)), nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: string(raw)}, nil
}

// yamlText is a text in YAML. The library quotes what YAML 1.2 would take for
// something else; readers of YAML 1.1 also take yes for a truth value and 12:30
// for a number.
func yamlText(s string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	sexagesimal := s != "" && s[0] <= '9' && strings.Contains(s, ":")
	if sexagesimal || yamlTruth[strings.ToLower(s)] || terminal.Sanitise(s) != s {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

var yamlTruth = map[string]bool{"y": true, "yes": true, "on": true, "n": true, "no": true, "off": true}
