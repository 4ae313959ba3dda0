"""Names that people give to columns, by what the column holds.

English, German, French, Spanish, Italian, Portuguese, Russian, Chinese, Japanese, Korean; in small letters.
"""

from __future__ import annotations


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


TEXT_NAMES = _words(
    "text texts content sentence review comment message body document abstract tweet post description question",
    "utterance title headline inhalt satz kommentar nachricht beschreibung bewertung texte contenu phrase",
    "commentaire avis texto contenido frase comentario reseña testo contenuto recensione conteúdo resenha",
    "текст отзыв комментарий сообщение описание 文本 内容 正文 评论 句子 文字 テキスト 本文 文章 コメント 文",
    "텍스트 내용 문장 본문 리뷰 댓글",
)
IMAGE_NAMES = _words(
    "image images img file filename file_name filepath file_path path image_path image_file photo picture bild datei",
    "pfad foto chemin fichier imagen archivo ruta immagine percorso imagem arquivo caminho изображение файл путь",
    "图像 图片 文件 文件名 路径 画像 ファイル ファイル名 パス 이미지 파일 파일명 경로",
)
AUDIO_NAMES = _words(
    "audio audios sound sounds recording recordings clip clips wav wave filename file_name filepath file_path file",
    "path audio_path audio_file wav_path wav_file aufnahme datei pfad ton enregistrement son fichier",
    "chemin grabación archivo ruta registrazione percorso gravação arquivo caminho запись звук файл путь",
    "音频 录音 文件 路径 音声 録音 ファイル 오디오 녹음 파일",
)
TRANSCRIPT_NAMES = _words(
    "transcript transcripts transcription transcriptions text sentence sentences utterance said words transcribed",
    "normalized_text raw_text raw_transcription transcript_text transkript transkription wortlaut texte texto testo",
    "transcripción trascrizione transcrição текст расшифровка 文本 转写 转录 句子",
    "書き起こし 文字起こし テキスト 전사 텍스트",
)
LABEL_NAMES = _words(
    "label labels class classes category categories target y tag tags sentiment topic genre score rating stars grade",
    "diagnosis species outcome klasse klassen kategorie etikett ziel thema diagnose classe catégorie étiquette",
    "cible clase categoría etiqueta objetivo categoria etichetta alvo метка класс категория цель оценка тема",
    "标签 类别 分类 类 目标 情感 评分",
    "ラベル クラス カテゴリ カテゴリー 分類 目的 評価 라벨 레이블 분류 클래스 범주 감정",
)
GROUP_NAMES = _words(
    "group groups patient patient_id patientid subject subject_id speaker speaker_id client_id participant",
    "participant_id donor animal plate instrument slide specimen site session gruppe patientin proband platte gerät",
    "groupe sujet plaque grupo paciente sujeto placa gruppo paziente soggetto группа пациент 组 组别 患者 病人 受试者",
    "グループ 被験者 그룹 환자",
)
SPLIT_NAMES = _words("split subset partition set fold aufteilung partición partição выборка 划分 数据集 分割 분할")
ID_NAMES = _words("id ids index idx uid uuid key row number nr no номер 编号 序号 番号 번호")
USER_NAMES = _words(
    "user user_id userid username user_name reviewer reviewer_id reviewerid customer customer_id customerid member",
    "member_id reader reader_id account account_id visitor visitor_id visitorid nutzer benutzer kunde utilisateur",
    "usuario utente usuário пользователь 用户 ユーザー 사용자",
)
ITEM_NAMES = _words(
    "item item_id itemid movie movie_id movieid film film_id product product_id productid article article_id articleid",
    "book book_id bookid isbn asin track track_id song song_id recipe recipe_id artikel produkt produit producto",
    "prodotto produto товар 商品 物品 アイテム 상품",
)
TIME_NAMES = _words("timestamp time date datetime when rated_at created_at zeit datum fecha data дата 时间 日期 日時")
