{{- define "stockade.labels" -}}
app.kubernetes.io/name: stockade
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "stockade.selector" -}}
app.kubernetes.io/name: stockade
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "stockade.image" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "stockade.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}

{{/* A container that may do nothing but what files and sockets of root allow. */}}
{{- define "stockade.noPrivileges" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The agent's container and those that do its work at an end: see docs/kubernetes.md. */}}
{{- define "stockade.privileges" -}}
securityContext:
  runAsUser: 0
  readOnlyRootFilesystem: true
  seccompProfile: {type: Unconfined}
  appArmorProfile: {type: Unconfined}
  capabilities:
    drop: [ALL]
    add: [BPF, PERFMON, SYS_ADMIN, SYS_PTRACE, SYS_RESOURCE, SYS_CHROOT, DAC_READ_SEARCH, DAC_OVERRIDE, KILL, NET_ADMIN, SYSLOG]
{{- end }}

{{- define "stockade.hostMounts" -}}
- {name: bpf, mountPath: /sys/fs/bpf}
- {name: cgroup, mountPath: /sys/fs/cgroup}
- {name: security, mountPath: /sys/kernel/security, readOnly: true}
- {name: run, mountPath: /run/stockade}
- {name: lib, mountPath: /var/lib/stockade}
- {name: host, mountPath: /host, mountPropagation: HostToContainer}
{{- end }}

{{- define "stockade.hostVolumes" -}}
- {name: bpf, hostPath: {path: /sys/fs/bpf, type: Directory}}
- {name: cgroup, hostPath: {path: /sys/fs/cgroup, type: Directory}}
- {name: security, hostPath: {path: /sys/kernel/security, type: Directory}}
- {name: run, hostPath: {path: /run/stockade, type: DirectoryOrCreate}}
- {name: lib, hostPath: {path: /var/lib/stockade, type: DirectoryOrCreate}}
- {name: host, hostPath: {path: /, type: Directory}}
{{- end }}

{{- define "stockade.installArgs" -}}
- install-runtime
- --root=/host
- --copy-to={{ .Values.engine.wrapper }}
- --engine={{ .Values.engine.name }}
- --name={{ .Values.runtimeClass.name }}
{{- with .Values.engine.config }}
- --config={{ . }}
{{- end }}
{{- if .Values.engine.reload }}
- --reload
{{- end }}
{{- end }}

{{/* What Helm makes before it removes the release, in the order of weights. */}}
{{- define "stockade.hook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
