{{/*
The prefix of all names. 52 characters leave room for the longest suffix, so that the name fits into a label.
*/}}
{{- define "scoped-secrets.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := default (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) .Values.fullnameOverride -}}
{{- $full | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/*
Labels of all pods of a component that never change, because selectors are immutable. Takes root and component.
*/}}
{{- define "scoped-secrets.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/*
Labels of every object. Takes root and, if there is one, component.
*/}}
{{- define "scoped-secrets.labels" -}}
{{- if .component -}}
{{ include "scoped-secrets.selectorLabels" . }}
{{- else -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: scoped-secrets
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "scoped-secrets.image" -}}
{{- with .Values.image -}}
{{- .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end -}}
{{- end -}}
{{- end -}}

{{/*
Name of a component's ServiceAccount. Takes root and component.
*/}}
{{- define "scoped-secrets.serviceAccount" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- if $account.create -}}
{{ default (printf "%s-%s" (include "scoped-secrets.fullname" .root) .component) $account.name }}
{{- else -}}
{{ default "default" $account.name }}
{{- end -}}
{{- end -}}

{{/*
Settings that the profile decides when they are unset.
*/}}
{{- define "scoped-secrets.defaultAccess" -}}
{{- default (eq .Values.profile "hardened" | ternary "Deny" "AllowInScope") .Values.settings.defaultAccess -}}
{{- end -}}

{{- define "scoped-secrets.keepUnchanged" -}}
{{- kindIs "bool" .Values.settings.keepUnchanged | ternary .Values.settings.keepUnchanged (ne .Values.profile "hardened") -}}
{{- end -}}

{{/*
The Secret with the certificate that cert-manager or an administrator provides; empty when the controller issues it.
*/}}
{{- define "scoped-secrets.tlsSecret" -}}
{{- if eq .Values.certificates.mode "existingSecret" -}}
{{ .Values.certificates.existingSecret.name }}
{{- else if eq .Values.certificates.mode "certManager" -}}
{{ include "scoped-secrets.fullname" . }}-admission-tls
{{- end -}}
{{- end -}}

{{/*
Arguments that both processes share. Takes root and component.
*/}}
{{- define "scoped-secrets.sharedArguments" -}}
{{- $settings := .root.Values.settings -}}
{{- $component := index .root.Values .component -}}
- --namespace={{ .root.Release.Namespace }}
- --organization={{ $settings.organization }}
- --default-access={{ include "scoped-secrets.defaultAccess" .root }}
- --default-home={{ $settings.defaultHome }}
- --resync-seconds={{ $settings.resyncSeconds }}
- --log-level={{ $settings.logLevel }}
- --log-format={{ $settings.logFormat }}
- --audit-log={{ $settings.auditLog }}
- --probe-port={{ $component.probePort }}
{{- if .root.Values.metrics.enabled }}
- --metrics-port={{ $component.metricsPort }}
{{- else }}
- --no-metrics
{{- end }}
{{- end -}}

{{/*
The pod spec that both components share, without the container. Takes root and component.
*/}}
{{- define "scoped-secrets.podSpec" -}}
{{- $component := index .root.Values .component -}}
serviceAccountName: {{ include "scoped-secrets.serviceAccount" . }}
automountServiceAccountToken: {{ $component.serviceAccount.automount }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
terminationGracePeriodSeconds: {{ $component.terminationGracePeriodSeconds }}
{{- if $component.hostNetwork }}
hostNetwork: true
{{- end }}
{{- with default ($component.hostNetwork | ternary "ClusterFirstWithHostNet" "") $component.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with $component.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $component.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.tolerations }}
tolerations:
{{ toYaml . }}
{{- end }}
{{- with $component.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
{{- if hasKey . "labelSelector" }}
{{ toYaml (list .) }}
{{- else }}
{{- $selector := dict "matchLabels" (include "scoped-secrets.selectorLabels" $ | fromYaml) }}
{{ toYaml (list (merge (dict "labelSelector" $selector) .)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
The end of the container spec that both components share. Takes root and component.
*/}}
{{- define "scoped-secrets.containerEnd" -}}
{{- $component := index .root.Values .component -}}
livenessProbe:
  httpGet:
    path: /healthz
    port: probes
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: probes
  periodSeconds: {{ eq .component "admission" | ternary 2 5 }}
{{- with $component.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $component.extraEnv }}
env:
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Whether an object of a kind of another project is rendered. Takes root, apiVersion, kind, value (the values of its
switch) and path (their place, for the message).
*/}}
{{- define "scoped-secrets.isRendered" -}}
{{- if and .value.enabled (or (eq .value.renderMode "alwaysRender") (.root.Capabilities.APIVersions.Has (printf "%s/%s" .apiVersion .kind)) (.root.Capabilities.APIVersions.Has .apiVersion)) -}}
true
{{- else if and .value.enabled (eq .value.renderMode "failIfMissing") -}}
{{- fail (printf "%s.enabled needs the kind %s of %s, which this cluster does not have: install it, or set %s.renderMode to skipIfMissing" .path .kind .apiVersion .path) -}}
{{- end -}}
{{- end -}}

{{/*
The namespaces whose pods the operator does not see, separated by commas.
*/}}
{{- define "scoped-secrets.excludedNamespaces" -}}
{{- concat (list "kube-system" .Release.Namespace) .Values.webhooks.excludedNamespaces | uniq | join ", " -}}
{{- end -}}

{{- /*
The kinds of objects that trusted issuers read, each once, as "group/resource". Presets have theirs in
files/issuer-presets.yaml.
*/ -}}
{{- define "scoped-secrets.issuerOwners" -}}
{{- $presets := .Files.Get "files/issuer-presets.yaml" | fromYaml }}
{{- $kinds := list }}
{{- range .Values.trustedIssuers }}
{{- $owners := default list .owners }}
{{- if and (not $owners) .preset }}
{{- $owners = get $presets .preset | default list }}
{{- end }}
{{- range $owners }}
{{- $group := contains "/" .apiVersion | ternary (splitList "/" .apiVersion | first) "" }}
{{- $kinds = append $kinds (printf "%s/%s" $group (.resource | default (printf "%ss" (lower .kind)))) }}
{{- end }}
{{- end }}
{{- $kinds | uniq | sortAlpha | toYaml }}
{{- end }}

{{/*
Which new pods are injected: for the webhook that injects them and for the policy that denies those that were not. Takes
root, and the name that the rules have: rules or resourceRules.
*/}}
{{- define "scoped-secrets.podScope" -}}
{{ .rules }}:
- {apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [CREATE], scope: Namespaced}
# The API server passes over pods without the label, also while the webhooks are down.
objectSelector:
  matchLabels:
    scopedsecrets.dev/inject: "true"
namespaceSelector:
  matchExpressions:
  - {key: kubernetes.io/metadata.name, operator: NotIn, values: [{{ include "scoped-secrets.excludedNamespaces" .root }}]}
{{- end }}
{{- define "scoped-secrets.podConditions" -}}
matchConditions:
# A mirror pod shows a static pod of a kubelet, which the API server can neither change nor stop. Anyone may write the
# annotation; only what a node created is one.
- name: no-mirror-pods
  expression: >-
    !has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations) ||
    !has(request.userInfo.groups) || !('system:nodes' in request.userInfo.groups)
{{- end }}
