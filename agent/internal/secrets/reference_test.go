package secrets

import (
	"strings"
	"testing"
)

func TestReferencesAreReadInAnyOrder(t *testing.T) {
	for text, want := range map[string]string{
		"encrypted:vault!e:secret!p:spinnaker/kubernetes!k:config":             "encrypted:vault!e:secret!p:spinnaker/kubernetes!k:config",
		" encryptedFile:vault!k:config!b:true!n:kubernetes!e:secret\n":         "encryptedFile:vault!e:secret!p:kubernetes!k:config!b:true",
		"encryptedFile:k8s!n:prod!k:config!ns:other":                           "encryptedFile:k8s!n:prod!k:config!ns:other",
		"encrypted:s3!r:eu-west-1!b:bucket!f:a/b.yml!k:clusters.prod.config":   "encrypted:s3!r:eu-west-1!b:bucket!f:a/b.yml!k:clusters.prod.config",
		"encryptedFile:gcs!f:kube/config!b:bucket":                             "encryptedFile:gcs!b:bucket!f:kube/config",
		"encrypted:secrets-manager!r:us-east-1!s:arn:aws:secretsmanager:x!k:c": "encrypted:secrets-manager!r:us-east-1!s:arn:aws:secretsmanager:x!k:c",
	} {
		r, err := Parse(text)
		if err != nil || r.String() != want || r.File != strings.Contains(text, "File") {
			t.Errorf("%s: %s %v", text, r, err)
		}
		again, err := Parse(r.String())
		if err != nil || again.String() != want {
			t.Errorf("%s does not read as itself: %v", r, err)
		}
	}
}

func TestReferencesThatAreNotUnderstoodAreRefusedByName(t *testing.T) {
	for text, want := range map[string]string{
		"encrypted:valut!e:x":                          `engine "valut" is not known; there are gcs, k8s, s3, secrets-manager, vault`,
		"encrypted:vault!e:secret!k:x":                 `parameter "p" (the secret's path) is missing`,
		"encrypted:vault!e:secret!p:x!k:":              `parameter "k" (the key in it) is missing`,
		"encrypted:vault!e:secret!p:x!k:y!q:z":         `parameter "q" is not known`,
		"encrypted:vault!e:secret!p:x!n:y!k:z":         `parameter "p" is given twice`,
		"encrypted:vault!e:secret!p:x!k:y!b:perhaps":   `b: "perhaps": want true or false`,
		"encrypted:k8s!n:x!k":                          `"k": want NAME:VALUE`,
		"encrypted:":                                   `engine "" is not known`,
		"plain":                                        "is no secret reference",
		"encryptedFile:gcs!b:x!f:\U0001F600!ü:\u202e!": `parameter "ü" is not known`,
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("encryptedFile:vault!e:secret!p:x!k:y!b:true")
	f.Add("encrypted:s3!r:!b::!f:!!")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || again.String() != r.String() {
			t.Errorf("%q is shown as %q: %v", text, r, err)
		}
	})
}
